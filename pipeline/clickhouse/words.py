"""The words of a statement: as much of SQL as it takes to know which names are those of tables."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.errors import Terminal

_WORD = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*|/\*.*?\*/)
    | (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<parameter>\{\w+:[^{}]*\})
    | (?P<name>[A-Za-z_]\w*|`[^`\\]+`)
    | (?P<number>\d\w*)
    | (?P<sign>[^\w\s'"`])
    """,
    re.VERBOSE | re.DOTALL,
)


class NotUnderstood(Terminal):
    """A statement that has no form for a cluster, or is none; the message says what it is and what to do."""


class Word(NamedTuple):
    """A word and its place in the text."""

    kind: str
    """`text`, `parameter`, `name`, `number` or `sign`."""
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def key(self) -> str:
        """In capitals if it may be a keyword, as it is otherwise."""
        return self.text.upper() if self.kind == "name" else self.text


_END = Word("end", "", 0)


def words_of(sql: str) -> list[Word]:
    """The words in order, without comments. Raises NotUnderstood for what is not a word."""
    found, at = [], 0
    while at < len(sql):
        match = _WORD.match(sql, at)
        if match is None:
            raise NotUnderstood(f"not understood from here on: {sql[at : at + 60]!r}")
        if match.lastgroup and match.lastgroup != "space":
            found.append(Word(match.lastgroup, match[0], at))
        at = match.end()
    return found


class StatementReader:
    """A statement read from its beginning on, word by word."""

    def __init__(self, sql: str) -> None:
        """Raises NotUnderstood."""
        self.sql = sql
        self._words = words_of(sql)
        self._at = 0

    @property
    def next(self) -> Word:
        """The next word; one of the kind `end` after the last."""
        return self._words[self._at] if self._at < len(self._words) else _END

    @property
    def rest(self) -> str:
        """All from the next word on."""
        return self.sql[self.next.start :] if self.next is not _END else ""

    @property
    def words(self) -> list[Word]:
        """All words from the next one on."""
        return self._words[self._at :]

    def takes(self, keywords: str) -> bool:
        """Whether these keywords come next; they are read then."""
        wanted = keywords.split()
        if [word.key for word in self._words[self._at : self._at + len(wanted)]] != wanted:
            return False
        self._at += len(wanted)
        return True

    def needs(self, keywords: str) -> None:
        """Read these keywords. Raises NotUnderstood if others come."""
        if not self.takes(keywords):
            raise NotUnderstood(f"{keywords} expected before {self.rest[:60]!r}")

    def name(self) -> str:
        """Read the name of a table, without a database. Raises NotUnderstood."""
        word = self.next
        if word.kind != "name":
            raise NotUnderstood(f"a name expected before {self.rest[:60]!r}")
        self._at += 1
        if self.next.text == ".":
            raise NotUnderstood(
                f"{word.text}: the database comes from the connection, so no statement names one"
            )
        return word.text.strip("`")

    def bracketed(self) -> str:
        """Read from one bracket to the one that closes it, both included. Raises NotUnderstood."""
        start, depth = self.next.start, 0
        while self.next is not _END:
            depth += {"(": 1, ")": -1}.get(self.next.text, 0)
            end = self.next.end
            self._at += 1
            if depth == 0:
                return self.sql[start:end]
        raise NotUnderstood(f"a bracket is not closed: {self.sql[start : start + 60]!r}")

    def ends(self) -> None:
        """Raises NotUnderstood if there is more."""
        if self.next is not _END:
            raise NotUnderstood(f"the end of the statement expected before {self.rest[:60]!r}")


def split_at_commas(sql: str) -> list[str]:
    """The parts between commas that stand in no bracket. Raises NotUnderstood."""
    parts, depth, start = [], 0, 0
    for word in words_of(sql):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(word.text, 0)
        if word.text == "," and depth == 0:
            parts.append(sql[start : word.start].strip())
            start = word.end
    return [*parts, sql[start:].strip()]


def quoted_name(name: str) -> str:
    """A name as it stands in SQL, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quoted_text(text: str) -> str:
    """A text as it stands in SQL, whatever is in it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
