"""Secrets from files: for each setting that is a secret, one more of its name and `_file` says which file holds it.

So it is with Docker's and Kubernetes' secrets, which are mounted as files: a variable can be read by whoever sees the
process or its description.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

SUFFIX = "_file"
_MOST_BYTES = 65_536


def file_of(name: str) -> str:
    """The name of the setting that says which file holds the secret `name`."""
    return f"{name}{SUFFIX}"


def merged(
    in_file: Mapping[str, Any], in_environment: Mapping[str, Any], secrets: Collection[str]
) -> dict[str, Any]:
    """The settings of the file and, before those, of the environment, by name.

    A secret that the environment has in either way is not that of the file, in neither way.
    """
    given = dict(in_file)
    for name in secrets:
        # A variable that names no file is as good as none: Compose hands on what is not set in that way.
        if name in in_environment or in_environment.get(file_of(name)):
            given.pop(name, None)
            given.pop(file_of(name), None)
    return given | dict(in_environment)


def with_secrets(given: Mapping[str, Any], secrets: Collection[str], problems: list[str]) -> dict[str, Any]:
    """What is given, with the content of the files of secrets in their place. Reads those files.

    What is wrong with one is added to `problems`, without anything of what it holds.
    """
    found = dict(given)
    for name in secrets:
        path = found.pop(file_of(name), "")
        if path == "":
            continue
        if found.get(name):
            problems.append(
                f"{name} and {file_of(name)}: both are set, and only one can hold: unset the other"
            )
            continue
        try:
            found[name] = _content(path)
        except ValueError as error:
            problems.append(f"{file_of(name)}: {error}")
    return found


def _content(path: object) -> str:
    """The secret in a file, without the line break that editors put at its end. ValueError with what is wrong."""
    if not isinstance(path, str):
        raise ValueError(f"is a {type(path).__name__}, not a text")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {_shown(path)}: {error.strerror or error}") from None
    except ValueError as error:  # NUL in the path
        raise ValueError(f"cannot read {_shown(path)}: {error}") from None
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{_shown(path)} is longer than {_MOST_BYTES} bytes: that cannot be a secret")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{_shown(path)} is not UTF-8") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret.strip():
        raise ValueError(f"{_shown(path)} is empty")
    if "\n" in secret or "\r" in secret:
        raise ValueError(f"{_shown(path)} has more than one line: a secret is the only line of its file")
    return secret


def _shown(path: str) -> str:
    return path if path.isprintable() and path.strip() else ascii(path)
