"""The statements of the schema as a cluster of ClickHouse servers needs them. Plain in, plain text out.

The files of `schemas` know of one server. In a cluster each of their statements becomes one or more:

- A table of the shards is made in a database of its own, `NAME_shards`, with a Replicated engine, and a Distributed
  table by its plain name stands in front of it. Feeds, materialized views and views by device are there too, so that
  each host stores and answers for its own devices.
- Any other table has a Replicated engine whose replicas are all hosts of all shards.
- Names in views are written out with their database: the hosts run these statements in a database of their own choice.

What is not known here is refused, so that no statement passes which would be wrong on several hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.clickhouse.catalogue import Catalogue, Place
from pipeline.clickhouse.words import (
    NotUnderstood,
    StatementReader,
    Word,
    quoted_name,
    quoted_text,
    split_at_commas,
    words_of,
)

SHARDED_PATH = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
COMMON_PATH = "'/clickhouse/tables/{uuid}/all', '{shard}-{replica}'"
"""By uuid: tables are exchanged for each other by name (a rebuild), and may be dropped and made again."""

REPEATABLE_S = 7 * 86_400
"""For how long an insert can be repeated, however few others came meanwhile. Servers forget sooner by themselves."""

_OF_COLUMNS = ("ADD COLUMN", "MODIFY COLUMN", "DROP COLUMN", "RENAME COLUMN", "COMMENT COLUMN")
_OF_BOTH = (*_OF_COLUMNS, "MODIFY COMMENT")
_OF_ROWS = (
    *("ADD INDEX", "DROP INDEX", "MATERIALIZE INDEX", "MATERIALIZE COLUMN", "MATERIALIZE TTL", "CLEAR INDEX"),
    *("MODIFY TTL", "REMOVE TTL", "MODIFY SETTING", "RESET SETTING", "MODIFY ORDER BY", "UPDATE", "DELETE"),
    *("DROP PARTITION", "ADD PROJECTION", "DROP PROJECTION", "MATERIALIZE PROJECTION"),
)
_OF_EACH_REPLICA = ("MODIFY SETTING", "RESET SETTING", "MODIFY COMMENT")
_BEFORE_NAME = frozenset({"FROM", "JOIN"})


class Cluster:
    """A cluster by its name in `remote_servers`, and one database in it."""

    query_settings: Mapping[str, Any] = {
        # What is asked for inside a question is found on all shards, and then told to each.
        "distributed_product_mode": "global",
    }
    command_settings: Mapping[str, Any] = {
        **query_settings,
        "distributed_foreground_insert": 1,
        # The next statement may need it, on whichever host.
        "alter_sync": 2,
        # Rows from one table of the shards to another stay where they are.
        "parallel_distributed_insert_select": 2,
    }

    def __init__(self, name: str, database: str, schema: Iterable[str]) -> None:
        """`schema` are the plain statements that make the tables and views. Raises NotUnderstood."""
        self.name = name
        self.database = database
        self._catalogue = Catalogue()
        self._on = f"ON CLUSTER {quoted_name(name)}"
        # Twice: only a materialized view tells that a table is on the shards which has no devices in it.
        statements = list(schema)
        for statement in [*statements, *statements]:
            if statement_makes(statement):
                self.forms(statement)

    @property
    def shard_database(self) -> str:
        """What lies on shards."""
        return f"{self.database}_shards"

    REPLICATED = (
        "SELECT database, name FROM system.tables WHERE database IN ({database:String}, {shard_database:String})"
        " AND startsWith(engine, 'Replicated') ORDER BY database, name"
    )
    """Asks with `names` for all tables that have replicas."""

    @property
    def names(self) -> dict[str, str]:
        """Both databases, as parameters."""
        return {"database": self.database, "shard_database": self.shard_database}

    def is_sharded(self, name: str) -> bool:
        """Whether a table or view lies on shards. Raises NotUnderstood for a name that nothing made."""
        return self._catalogue.place(name).is_sharded

    def sharded_tables(self) -> list[tuple[str, str]]:
        """The tables that lie on shards, by name, and what decides on the shard of a row; empty where it stays."""
        return [(place.name, place.key) for place in self._catalogue.tables() if place.is_sharded]

    def create_databases(self) -> list[str]:
        """The statements that make both databases where they are not there."""
        return [
            f"CREATE DATABASE IF NOT EXISTS {quoted_name(name)} {self._on}"
            for name in (self.database, self.shard_database)
        ]

    def reads_all(self, sql: str) -> bool:
        """Whether a statement takes rows of the shards for good: a host that lags behind would leave some out."""
        reader = StatementReader(sql)
        if reader.takes("EXCHANGE TABLES"):
            return True
        return reader.takes("INSERT INTO") and self._catalogue.place(reader.name()).is_sharded

    def on_all_hosts(self, system_table: str) -> str:
        """What a question reads for a system table of every host."""
        return f"clusterAllReplicas({quoted_text(self.name)}, {system_table})"

    def sync(self, database: str, table: str) -> str:
        """The statement after which every replica of a table has all that was inserted before."""
        return f"SYSTEM SYNC REPLICA {self._on} {quoted_name(database)}.{quoted_name(table)}"

    def forms(self, sql: str) -> list[str]:
        """The statements that take the place of a plain one, in order.

        Raises NotUnderstood for a statement that is not one of those that the schema and its commands are made of.
        """
        reader = StatementReader(sql)
        for beginning, form in (
            ("CREATE TABLE", self._create_table),
            ("CREATE OR REPLACE VIEW", self._replace_view),
            ("CREATE VIEW", self._create_view),
            ("CREATE MATERIALIZED VIEW", self._create_tap),
            ("ALTER TABLE", self._alter),
            ("RENAME TABLE", self._rename),
            ("EXCHANGE TABLES", self._exchange),
            ("DROP TABLE", self._drop_table),
            ("DROP VIEW", self._drop_view),
            ("INSERT INTO", self._insert),
            ("DELETE FROM", self._delete),
        ):
            if reader.takes(beginning):
                try:
                    return list(form(reader))
                except NotUnderstood as error:
                    raise NotUnderstood(f"{beginning} … has no form for a cluster: {error}") from error
        raise NotUnderstood(
            f"this statement has no form for a cluster (pipeline/clickhouse/cluster.py): {reader.rest[:80]!r}"
        )

    def _create_table(self, reader: StatementReader) -> Iterator[str]:
        how = "IF NOT EXISTS " if reader.takes("IF NOT EXISTS") else ""
        name = reader.name()
        if reader.takes("AS"):
            other = reader.name()
            reader.ends()
            place = self._catalogue.like(name, other)
            yield f"CREATE TABLE {how}{self._inside(place)} {self._on} AS {self._inside(self._catalogue.place(other))}"
        else:
            columns = reader.bracketed()
            place = self._catalogue.table(name, columns)
            yield f"CREATE TABLE {how}{self._inside(place)} {self._on}\n{columns}\n{self._engine(reader, place)}"
        if place.is_sharded:
            yield self._front(place, "CREATE TABLE IF NOT EXISTS" if how else "CREATE OR REPLACE TABLE")

    def _engine(self, reader: StatementReader, place: Place) -> str:
        reader.needs("ENGINE =")
        engine = reader.name()
        arguments = reader.bracketed()[1:-1] if reader.next.text == "(" else ""
        if engine == "Null":
            return f"ENGINE = Null\n{reader.rest}".rstrip()
        if not engine.endswith("MergeTree") or engine.startswith(("Replicated", "Shared")):
            raise NotUnderstood(
                f"table {place.name} has engine {engine}, which is not known to have replicas"
            )
        path = SHARDED_PATH if place.is_sharded else COMMON_PATH
        given = f"{path}, {arguments}" if arguments else path
        keys = [word.key for word in reader.words]
        if "REPLICATED_DEDUPLICATION_WINDOW" in keys:
            more = f"replicated_deduplication_window_seconds = {REPEATABLE_S}"
        else:
            # What cannot be repeated on one server cannot here: a row that comes again is then the newest.
            more = "replicated_deduplication_window = 0"
        # A comment is the last of all.
        at = reader.words[keys.index("COMMENT")].start if "COMMENT" in keys else len(reader.sql)
        rest, comment = reader.sql[reader.next.start : at].rstrip(), reader.sql[at:]
        settings = f"{rest},\n    {more}" if "SETTINGS" in keys else f"{rest}\nSETTINGS {more}"
        return f"ENGINE = Replicated{engine}({given})\n{settings}\n{comment}".rstrip()

    def _replace_view(self, reader: StatementReader) -> Iterator[str]:
        yield from self._view(reader, "CREATE OR REPLACE VIEW", "CREATE OR REPLACE TABLE")

    def _create_view(self, reader: StatementReader) -> Iterator[str]:
        reader.needs("IF NOT EXISTS")
        yield from self._view(reader, "CREATE VIEW IF NOT EXISTS", "CREATE TABLE IF NOT EXISTS")

    def _view(self, reader: StatementReader, create: str, create_front: str) -> Iterator[str]:
        name = reader.name()
        reader.needs("AS")
        parameters = any(word.kind == "parameter" for word in reader.words)
        place = self._catalogue.view(name, self._tables_in(reader.words), parameters)
        body = self._qualified(reader.rest, is_inside=place.is_sharded)
        yield f"{create} {self._inside(place)} {self._on} AS\n{body}"
        if place.is_sharded:
            yield self._front(place, create_front)

    def _create_tap(self, reader: StatementReader) -> Iterator[str]:
        how = "IF NOT EXISTS " if reader.takes("IF NOT EXISTS") else ""
        name = reader.name()
        reader.needs("TO")
        target = reader.name()
        reader.needs("AS")
        place = self._catalogue.tap(name, self._tables_in(reader.words), target)
        body = self._qualified(reader.rest, is_inside=place.is_sharded)
        into = self._inside(self._catalogue.place(target))
        yield f"CREATE MATERIALIZED VIEW {how}{self._inside(place)} {self._on} TO {into} AS\n{body}"

    def _alter(self, reader: StatementReader) -> Iterator[str]:
        place = self._catalogue.place(reader.name())
        if reader.takes("MODIFY QUERY"):
            if not place.is_tap:
                raise NotUnderstood(f"{place.name} is not a materialized view")
            body = self._qualified(reader.rest, is_inside=place.is_sharded)
            yield f"ALTER TABLE {self._inside(place)} {self._on} MODIFY QUERY\n{body}"
            return
        commands = _commands(reader.rest)
        for command in commands:
            # The same name is a part of its own on each shard.
            if not _begins(command, (*_OF_BOTH, *_OF_ROWS, *(() if place.is_sharded else ("DROP PART",)))):
                raise NotUnderstood(f"ALTER TABLE {place.name} {command[:60]}")
        in_front = [command for command in commands if _begins(command, _OF_BOTH)]
        if place.is_view and place.is_sharded:
            # People see the table in front alone.
            if in_front != commands:
                raise NotUnderstood(f"{place.name} is a view")
        elif place.is_sharded or place.is_view or place.is_tap:
            yield f"ALTER TABLE {self._inside(place)} {self._on} {reader.rest}"
        else:
            # Replicas of one table tell each other, but for what each of them keeps by itself.
            alone = [command for command in commands if _begins(command, _OF_EACH_REPLICA)]
            told = [command for command in commands if command not in alone]
            if told:
                yield f"ALTER TABLE {self._inside(place)} {', '.join(told)}"
            if alone:
                yield f"ALTER TABLE {self._inside(place)} {self._on} {', '.join(alone)}"
        if place.is_sharded and not place.is_tap and in_front:
            yield f"ALTER TABLE {self._outside(place.name)} {self._on} {', '.join(in_front)}"

    def _rename(self, reader: StatementReader) -> Iterator[str]:
        old = self._catalogue.place(reader.name())
        reader.needs("TO")
        new = self._catalogue.like(reader.name(), old.name)
        reader.ends()
        yield f"RENAME TABLE {self._inside(old)} TO {self._inside(new)} {self._on}"
        if old.is_sharded:
            yield f"DROP TABLE IF EXISTS {self._outside(old.name)} {self._on} SYNC"
            yield self._front(new, "CREATE OR REPLACE TABLE")

    def _exchange(self, reader: StatementReader) -> Iterator[str]:
        one = self._catalogue.place(reader.name())
        reader.needs("AND")
        other = self._catalogue.place(reader.name())
        reader.ends()
        if one.is_sharded != other.is_sharded:
            raise NotUnderstood(f"{one.name} and {other.name} do not lie in the same place")
        yield f"EXCHANGE TABLES {self._inside(one)} AND {self._inside(other)} {self._on}"

    def _drop_table(self, reader: StatementReader) -> Iterator[str]:
        yield from self._drop(reader, "TABLE")

    def _drop_view(self, reader: StatementReader) -> Iterator[str]:
        yield from self._drop(reader, "VIEW")

    def _drop(self, reader: StatementReader, what: str) -> Iterator[str]:
        how = "IF EXISTS " if reader.takes("IF EXISTS") else ""
        name = reader.name()
        reader.takes("SYNC")
        reader.ends()
        place = self._catalogue.place(name)
        if place.is_sharded and not place.is_tap:
            yield f"DROP TABLE {how}{self._outside(name)} {self._on} SYNC"
        # At once, since one of the same name may be made again.
        yield f"DROP {what} {how}{self._inside(place)} {self._on} SYNC"

    def _insert(self, reader: StatementReader) -> Iterator[str]:
        place = self._catalogue.place(reader.name())
        if place.is_view or place.is_tap:
            raise NotUnderstood(f"{place.name} is a view")
        # Not ON CLUSTER: the table in front brings each row to its shard.
        yield reader.sql

    def _delete(self, reader: StatementReader) -> Iterator[str]:
        place = self._catalogue.place(reader.name())
        if self._tables_in(reader.words):
            raise NotUnderstood(
                "what is deleted depends on other tables, which each host would read by itself"
            )
        on = f" {self._on}" if place.is_sharded else ""
        yield f"DELETE FROM {self._inside(place)}{on} {reader.rest}"

    def _front(self, place: Place, create: str) -> str:
        shards = f"{quoted_text(self.name)}, {quoted_text(self.shard_database)}, {quoted_text(place.name)}"
        engine = (
            f"Distributed({shards}, {place.key})"
            if place.key and not place.is_view
            else f"Distributed({shards})"
        )
        return f"{create} {self._outside(place.name)} {self._on} AS {self._inside(place)}\nENGINE = {engine}"

    def _inside(self, place: Place) -> str:
        """Where the thing itself is."""
        database = self.shard_database if place.is_sharded else self.database
        return f"{quoted_name(database)}.{quoted_name(place.name)}"

    def _outside(self, name: str) -> str:
        """What people and workers ask for."""
        return f"{quoted_name(self.database)}.{quoted_name(name)}"

    def _tables_in(self, words: list[Word]) -> list[str]:
        return [word.text.strip("`") for word in self._names_of_tables(words)]

    def _qualified(self, sql: str, *, is_inside: bool) -> str:
        """A question with the database before each name; `is_inside`: asked on a shard about itself."""
        parts, at = [], 0
        for word in self._names_of_tables(words_of(sql)):
            place = self._catalogue.place(word.text.strip("`"))
            parts += [sql[at : word.start], self._inside(place) if is_inside else self._outside(place.name)]
            at = word.end
        return "".join([*parts, sql[at:]])

    def _names_of_tables(self, words: list[Word]) -> Iterator[Word]:
        """The names of tables and views in a question. Raises NotUnderstood for one that nothing made."""
        given = _names_given(words)
        for at, word in enumerate(words):
            if word.kind != "name" or at == 0:
                continue
            before = words[at - 1].key
            is_of_array = before == "JOIN" and words[at - 2].key == "ARRAY"
            has_database = at + 1 < len(words) and words[at + 1].text == "."
            if before in _BEFORE_NAME and not is_of_array and not has_database and word.text not in given:
                self._catalogue.place(word.text.strip("`"))
                yield word
            elif before == "IN" and self._catalogue.is_known(word.text):
                raise NotUnderstood(f"IN {word.text}: say IN (SELECT … FROM {word.text})")


def _names_given(words: list[Word]) -> set[str]:
    """Names that a question gives to questions inside it: WITH name AS (SELECT …)."""
    found = set()
    for name, as_word, bracket, first in zip(words, words[1:], words[2:], words[3:], strict=False):
        if (as_word.key, bracket.text) == ("AS", "(") and first.key in ("SELECT", "WITH"):
            found.add(name.text)
    return found


def statement_makes(sql: str) -> bool:
    """Whether a statement makes a table or a view, or gives one a new name."""
    return StatementReader(sql).next.key in ("CREATE", "RENAME")


def _commands(sql: str) -> list[str]:
    """The commands of an ALTER. One may go on behind a comma, as UPDATE a = 1, b = 2 WHERE … and settings do."""
    found: list[str] = []
    for part in split_at_commas(sql):
        last = [word.key for word in words_of(found[-1])] if found else [""]
        is_value = [word.kind for word in words_of(part)][:2] == ["name", "sign"]
        if is_value and ((last[0] == "UPDATE" and "WHERE" not in last) or last[:2] == ["MODIFY", "SETTING"]):
            found[-1] += f", {part}"
        else:
            found.append(part)
    return found


def _begins(command: str, beginnings: Iterable[str]) -> bool:
    words = [word.key for word in words_of(command)]
    return any(words[: len(each.split())] == each.split() for each in beginnings)
