"""Recorded traffic in files: one document per line, compressed or not, or on standard input."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, cast

import typer

from pipeline import topics
from pipeline.commands.failure import CommandFailed
from pipeline.formats import registry

Files = Annotated[list[str], typer.Argument(metavar="FILE…", help="Plain or .gz; - is standard input.")]
FormatName = Annotated[
    str, typer.Option("--format", help=f"What each line is: {', '.join(registry.names())}.")
]
"""As `send` and `validate` are asked for."""


class DocumentLine(NamedTuple):
    """One document of a file."""

    file: str
    """The name as it was given; `-` is standard input."""
    number: int
    """Of its line, from 1."""
    document: bytes


def checked_files(files: list[str]) -> list[str]:
    """The names. Raises `CommandFailed` for one that is not a file."""
    for name in files:
        if name != "-" and not Path(name).is_file():
            raise CommandFailed(f"{name} is not a file: name one to send, or - for standard input")
    return files


def documents(name: str) -> Iterator[DocumentLine]:
    """The lines of a file that are not blank, without their line ends, one after the other. Raises `CommandFailed`."""
    with ExitStack() as stack:
        try:
            file = cast(
                BinaryIO, sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            )
            if name.endswith(".gz"):
                file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
            number = 0
            # One byte more than a record may have, and the line's end: what is longer is not read to its end.
            while line := file.readline(topics.MAX_MESSAGE_BYTES + 2):
                number += 1
                if len(line) > topics.MAX_MESSAGE_BYTES and not line.endswith(b"\n"):
                    raise CommandFailed(
                        f"{name}: a line of more than {topics.MAX_MESSAGE_BYTES} bytes, which no topic takes: split it"
                    )
                if line.strip():
                    yield DocumentLine(name, number, line.rstrip(b"\r\n"))
        except (OSError, EOFError, zlib.error) as error:
            raise CommandFailed(f"cannot read {name}: {error}") from error
