"""Recorded traffic in files: one document per line, compressed or not, or on standard input."""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
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
_MOST_LINES = 200_000
"""Of one document: a file whose first line is cut short is read no further ahead, and standard input need not end."""
_BRACKETS = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_BLANKS = b" \t\xef\xbb\xbf"
# As in `formats/mending.py`: a text without an end goes to the end of all, or this would take quadratic time.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


class DocumentLine(NamedTuple):
    """One document of a file."""

    file: str
    """The name as it was given; `-` is standard input."""
    number: int
    """Of its line, from 1; of the first, if it is on several."""
    document: bytes
    is_spread: bool = False
    """It is on several lines, as pretty-printed JSON is."""


def checked_files(files: list[str]) -> list[str]:
    """The names. Raises `CommandFailed` for one that is not a file."""
    for name in files:
        if name != "-" and not Path(name).is_file():
            raise CommandFailed(f"{name} is not a file: name one to send, or - for standard input")
    return files


def documents(name: str) -> Iterator[DocumentLine]:
    """The documents of a file, without their line ends, one after the other. Raises `CommandFailed`.

    Each line that is not blank is one. Only where the first is on several lines, as in pretty-printed JSON, may the
    next ones be so, too.
    """
    lines = _lines(name)
    some = _next(lines)
    while len(some) == 1 and some[0].is_spread:
        yield some[0]
        some = _next(lines)
    yield from some
    yield from lines


def _next(lines: Iterator[DocumentLine]) -> Sequence[DocumentLine]:
    """The next line, and what closes the brackets that it opens, as one document; if nothing does within the bytes that
    a record may have, or `_MOST_LINES`, the lines as they are. None at the end."""
    some: list[DocumentLine] = []
    size = depth = 0
    for line in lines:
        some.append(line)
        size += len(line.document)
        depth += _opened(line.document)
        is_begun = some[0].document.lstrip(_BLANKS)[:1] in (b"{", b"[")
        if depth <= 0 or not is_begun or size > topics.MAX_MESSAGE_BYTES or len(some) == _MOST_LINES:
            break
    if len(some) <= 1 or depth:
        return some
    return [some[0]._replace(document=b"\n".join(line.document for line in some), is_spread=True)]


def _opened(line: bytes) -> int:
    """How many brackets it opens and does not close, outside of texts: no text of JSON goes on in the next line."""
    return sum(_BRACKETS.get(token[0], 0) for token in _TOKENS.finditer(line))


def _lines(name: str) -> Iterator[DocumentLine]:
    """The lines of a file that are not blank, without their ends. Raises `CommandFailed`."""
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
