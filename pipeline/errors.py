"""What goes wrong by name, and whether to try again.

Below `PipelineError` each class says which of the two it is. What is raised of it is told to the user as one line:

    PipelineError
    ├── Terminal              The same request fails again: somebody has to change something first.
    │   ├── UnusablePath      A file or folder that the user named, and the system would not have.
    │   ├── InvalidSettings, FilterError, MigrationError, TopicMadeAnew, StateLost, …
    │   └── KafkaRefused      (`kafka/errors.py`)
    └── Transient             The same again may succeed later, with nothing changed.
        ├── Unreachable       (`clickhouse/store.py`)
        └── BrokerUnavailable (`kafka/errors.py`)

What is not a PipelineError is a fault of the program, or of the machine it runs on (OSError). Imports nothing, so that
every part may import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class PipelineError(Exception):
    """What the pipeline raises by name. Its message is for people: what is wrong, and what to do next."""


class Terminal(PipelineError):
    """The same request fails again: somebody has to change something first."""


class Transient(PipelineError):
    """The same again may succeed later, with nothing changed."""


class UnusablePath(Terminal):
    """A file or folder that the user named cannot be used; says which and why."""


def system_says(error: OSError) -> str:
    """What the system refused, for people: without its number."""
    said = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {said}" if error.filename else said


@contextmanager
def path_of(option: str, path: object) -> Iterator[None]:
    """Within, an OSError is the fault of the path that was given as `option`. Raises `UnusablePath`."""
    try:
        yield
    except OSError as error:
        raise UnusablePath(f"{option}: cannot use {path}: {error.strerror or error}") from error
