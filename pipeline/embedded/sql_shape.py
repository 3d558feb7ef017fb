"""What a ClickHouse statement is, as far as its HTTP interface has to know: where its data begins, what it answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain

_TOKEN = re.compile(
    rb"""
    (?P<blank> \s+ | -- [^\n]* | \#[ !] [^\n]* | /\* .*? \*/ )
  | (?P<quoted> ' (?: [^'\\] | \\. )*+ ' | " (?: [^"\\] | \\. )*+ " | ` (?: [^`\\] | \\. )*+ `
              | \$ (?P<tag> \w* ) \$ .*? \$ (?P=tag) \$ )
  | (?P<word> [A-Za-z_] \w* )
  | (?P<mark> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_AFTER_FORMAT = re.compile(rb"[ \t\r\f]*\n?")
_ROWS_FOLLOW = (b"SELECT", b"WITH", b"WATCH")


@dataclass(frozen=True, slots=True)
class StatementShape:
    """The shape of one statement."""

    is_select: bool = False
    """It begins as SELECT, WITH or a parenthesis."""
    only_reads: bool = field(default=False, compare=False)
    """It begins as SELECT: after WITH there may be an INSERT."""
    is_insert_with_data: bool = False
    """INSERT … FORMAT: `insert_head` and `insert_settings` come before that clause, and data from `data_offset` on."""
    insert_head: bytes = b""
    insert_settings: bytes = b""
    """Its SETTINGS clause, if it has one."""
    data_offset: int = 0
    output_or_data_format: str = ""
    """The name in its FORMAT clause; empty if it has none."""
    format_offset: int = field(default=-1, compare=False)
    """Of a SELECT, where that clause begins; -1 if it has none."""
    has_further_statement: bool = False
    uses_server_file: bool = False
    """INTO OUTFILE or FROM INFILE, which are for ClickHouse's own client."""


@dataclass(frozen=True, slots=True)
class _Token:
    start: int
    end: int
    word: bytes
    """In upper case; empty for anything that is not a bare word."""
    mark: bytes


def read_statement(text: bytes, formats: Collection[str]) -> StatementShape:
    """The shape of a statement; of an INSERT only what is before its data is read. `formats` are the known names.

    It never fails: what is not SQL comes out as some statement, and the engine refuses it.
    """
    tokens = _outer_tokens(text)
    first = next(tokens, None)
    if first is None:
        return StatementShape()
    if first.word == b"INSERT":
        return _read_insert(text, tokens)
    shape = _read_other(text, tokens, formats)
    return StatementShape(
        is_select=first.word in _ROWS_FOLLOW or first.mark == b"(",
        only_reads=first.word == b"SELECT",
        output_or_data_format=shape.output_or_data_format,
        format_offset=shape.format_offset,
        has_further_statement=shape.has_further_statement,
        uses_server_file=shape.uses_server_file,
    )


def files_of(normal: bytes) -> list[bytes]:
    """The literals that name files of a client, `FROM INFILE` and `INTO OUTFILE`, in a statement that the engine wrote
    itself, from what it had parsed: without comments, and with one kind of quotes."""
    found, before = [], [b"", b""]
    for match in _TOKEN.finditer(normal):
        if match.lastgroup == "blank":
            continue
        if before in ([b"FROM", b"INFILE"], [b"INTO", b"OUTFILE"]):
            found.append(match[0])
        before = [before[1], match["word"] or match[0]]
    return found


def _read_insert(text: bytes, tokens: Iterator[_Token]) -> StatementShape:
    before = b"INSERT"
    settings: _Token | None = None
    for token in tokens:
        # A table may have any name: what follows INTO, TABLE, FUNCTION or a dot is one.
        is_name = before in (b"INTO", b"TABLE", b"FUNCTION", b".") and token.word != b"TABLE"
        word = b"" if is_name else token.word
        if word == b"FORMAT":
            return _read_data(text, settings, token, next(tokens, None))
        if word == b"SETTINGS":
            settings = settings or token
        if word in _ROWS_FOLLOW or token.mark == b";":
            return _read_other(text, chain((token,), tokens), ())
        if word in (b"VALUES", b"INFILE"):
            # Values are part of the statement for the engine, which evaluates them as expressions.
            return StatementShape(uses_server_file=word == b"INFILE")
        before = token.word or token.mark
    return StatementShape()


def _read_data(text: bytes, settings: _Token | None, clause: _Token, name: _Token | None) -> StatementShape:
    if name is None or not name.word:
        return StatementShape()
    blank = _AFTER_FORMAT.match(text, name.end)
    return StatementShape(
        is_insert_with_data=True,
        insert_head=text[: (settings or clause).start],
        insert_settings=text[settings.start : clause.start] if settings else b"",
        data_offset=blank.end() if blank else name.end,
        output_or_data_format=text[name.start : name.end].decode(),
    )


def _read_other(text: bytes, tokens: Iterator[_Token], formats: Collection[str]) -> StatementShape:
    format_name, before, further, server_file = "", b"", False, False
    clause = offset = -1
    for token in tokens:
        if token.mark == b";":
            further = next(tokens, None) is not None
            break
        if before == b"FORMAT" and token.word:
            # A column may be called `format`: only a known name makes the clause.
            name = text[token.start : token.end].decode()
            if name in formats:
                format_name, offset = name, clause
        server_file = server_file or (before == b"INTO" and token.word == b"OUTFILE")
        before, clause = token.word or token.mark, token.start
    return StatementShape(
        output_or_data_format=format_name,
        format_offset=offset,
        has_further_statement=further,
        uses_server_file=server_file,
    )


def _outer_tokens(text: bytes) -> Iterator[_Token]:
    """Tokens outside of parentheses (the parentheses themselves count), without blanks and comments."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "blank":
            continue
        mark = match["mark"] or b""
        if mark == b"(":
            depth += 1
        elif mark == b")":
            depth -= 1
        if depth == 0 or (depth == 1 and mark == b"("):
            yield _Token(match.start(), match.end(), (match["word"] or b"").upper(), mark)
