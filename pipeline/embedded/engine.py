"""The ClickHouse engine in this process (chDB). Blocking; called from many threads."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

from chdb.state.sqlitelike import Connection

from pipeline.embedded.client_sessions import (
    DEFAULT_TIMEOUT_S,
    ClientSessions,
    NoSuchSession,
    SessionConnection,
    SessionInUse,
)
from pipeline.embedded.engine_rights import write_configuration
from pipeline.embedded.sql_shape import StatementShape, files_of, read_statement
from pipeline.errors import Terminal

_HEAD_BYTES = 1 << 20
"""The part of an INSERT before its data lies in here (ClickHouse itself reads 256 KiB)."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_CODE = re.compile(r"Code: (\d+)\.")
# The streaming call of chDB writes every chunk as a whole document: only formats without head and foot come out right.
_STREAMABLE = frozenset(
    {"Native", "JSONEachRow", "JSONCompactEachRow", "TabSeparated", "TSV", "CSV", "RowBinary"}
)
_LARGE_FILES = frozenset({"Parquet"})
"""Formats with a foot in which much is asked for: they go by way of a file, and are in memory in pieces alone."""
_PIECE_BYTES = 1 << 16
_WHOLE_ONLY = re.compile(rb"totals|extremes|array_of_rows", re.IGNORECASE)
"""Words of queries whose results have a head or a foot even so."""
_MAY_NAME_FILES = re.compile(rb"infile|outfile|;\s*\S", re.IGNORECASE)
"""In a statement without any of this, however it is read, the engine finds no file of a client, and no second one."""
# ClickHouse's error codes.
_BAD_ARGUMENTS, _NOT_IMPLEMENTED, _SYNTAX_ERROR, _UNKNOWN_SETTING = 36, 48, 62, 115
_READONLY, _NOT_ENOUGH_SPACE, _UNKNOWN_EXCEPTION = 164, 243, 1002
_SESSION_NOT_FOUND, _SESSION_IS_LOCKED = 372, 373


class EngineError(Terminal):
    """An error as ClickHouse reports it; `code` is its error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(
            message if message.startswith("Code: ") else f"Code: {code}. DB::Exception: {message}"
        )
        self.code = code


class DataFolderInUse(Terminal):
    """Another process has the data folder open."""


@dataclass(frozen=True, slots=True)
class ClientSession:
    """The session of a client in which a query runs."""

    name: str
    timeout_s: float = DEFAULT_TIMEOUT_S
    must_exist: bool = False
    is_last: bool = False
    """It ends with this query."""


@dataclass(frozen=True, slots=True)
class Query:
    """One statement and how to run it."""

    pieces: Iterator[bytes]
    """Statement, and data after it."""
    database: str = ""
    default_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of `{name:Type}`, escaped as in TabSeparated, which is how HTTP clients send them."""
    read_only: bool = False
    session: ClientSession | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave."""

    format: str
    """Empty if the statement answers nothing."""
    chunks: Generator[bytes, None, None]
    """The result. If `is_partial`, iterating runs the query on: it blocks, may raise EngineError, and has to be
    iterated to its end or closed."""
    is_partial: bool = False
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


class Engine:
    """One open data folder. Every query has an engine connection of its own, or that of its session, so settings never
    leak into another."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the folder, and goes there. DataFolderInUse if another process has it open."""
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path / "in-use")
        # Not its name: the engine reads an address here, and takes some characters for its own.
        os.chdir(path)
        self._path = f".?config-file={write_configuration(Path())}"
        self._folder = Path()
        self._closing = threading.Lock()
        # The engine lives as long as it has a connection.
        self._keeper: Connection | None = Connection(self._path)
        self._sessions = ClientSessions(lambda: Connection(self._path))
        self.version, self.timezone = self._one_row("SELECT version(), timezone()")
        self.formats = frozenset(self._one_column("SELECT name FROM system.formats"))

    def execute(self, query: Query) -> QueryResult:
        """Runs a query. EngineError if it fails. A large result comes in chunks, as they are made."""
        text, statement = self._read(query.pieces)
        if statement.has_further_statement:
            raise EngineError(_SYNTAX_ERROR, "Multi-statements are not allowed. (SYNTAX_ERROR)")
        if statement.uses_server_file:
            raise EngineError(_BAD_ARGUMENTS, "INTO OUTFILE and FROM INFILE are for clients. (BAD_ARGUMENTS)")
        connection = self._connection(query, statement)
        try:
            if statement.is_insert_with_data:
                return self._insert(connection, query, statement, text)
            whole = b"".join((text, *query.pieces))
            _require_files(connection, whole, [])
            _prepare(connection, query)
            if len(whole) > len(text):
                statement = read_statement(whole, self.formats)
            if _is_streamable(statement, query, whole):
                return self._stream(connection, query, statement, whole)
            if statement.is_select and statement.output_or_data_format in _LARGE_FILES:
                return self._by_file(connection, query, statement, whole)
            return _run(connection, query, statement, whole)
        except RuntimeError as error:
            connection.close()
            raise self._engine_error(error) from error
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Closes the folder once the queries in progress are closed. Harmless twice."""
        with self._closing:
            keeper, self._keeper = self._keeper, None
            if keeper is not None:
                self._sessions.close()
                keeper.close()
                self._lock.close()

    def _connection(self, query: Query, statement: StatementShape) -> Connection | SessionConnection:
        """One for this query alone, or that of its session, where nothing but reads may come by GET."""
        session = query.session
        # A connection that was made to read only stays so.
        if session is None or (query.read_only and not statement.only_reads):
            return Connection(self._path)
        try:
            return self._sessions.lease(
                session.name, session.timeout_s, must_exist=session.must_exist, last=session.is_last
            )
        except SessionInUse as error:
            raise EngineError(
                _SESSION_IS_LOCKED,
                f"Session {session.name} is locked by a concurrent client. (SESSION_IS_LOCKED)",
            ) from error
        except NoSuchSession as error:
            raise EngineError(
                _SESSION_NOT_FOUND, f"Session {session.name} not found. (SESSION_NOT_FOUND)"
            ) from error

    def _read(self, pieces: Iterator[bytes]) -> tuple[bytes, StatementShape]:
        """The beginning of the input, which holds all of the statement but its data, and its shape."""
        text = bytearray()
        for piece in pieces:
            text += piece
            if len(text) >= _HEAD_BYTES:
                break
        beginning = bytes(text)
        return beginning, read_statement(beginning, self.formats)

    def _insert(
        self, connection: Connection | SessionConnection, query: Query, statement: StatementShape, text: bytes
    ) -> QueryResult:
        if query.read_only:
            raise EngineError(_READONLY, "Cannot insert in readonly mode. (READONLY)")
        if query.parameters:
            raise EngineError(_NOT_IMPLEMENTED, "No query parameters in INSERT … FORMAT. (NOT_IMPLEMENTED)")
        # By way of a file: chDB's streaming insert says that rows are written which found no space on the disk.
        with _spooled(self._folder, chain((text[statement.data_offset :],), query.pieces)) as file:
            sql = b"%b FROM INFILE %b COMPRESSION 'none' %b FORMAT %b" % (
                statement.insert_head,
                _literal(file),
                statement.insert_settings,
                statement.output_or_data_format.encode(),
            )
            _require_files(connection, sql, [_literal(file)])
            _prepare(connection, query)
            result = connection.query(sql)
        connection.close()
        return QueryResult(
            "", _one(b""), written_rows=result.rows_written(), written_bytes=result.bytes_written()
        )

    def _stream(
        self, connection: Connection | SessionConnection, query: Query, statement: StatementShape, text: bytes
    ) -> QueryResult:
        """The rows in chunks. None of these formats has a head or a foot: no rows are no bytes."""
        output_format = statement.output_or_data_format or query.default_format
        stream = connection.send_query(text, output_format, params=dict(query.parameters))
        first = stream.fetch()
        if first is None:
            stream.close()
            connection.close()
            return QueryResult(output_format, _one(b""))

        def chunks() -> Generator[bytes, None, None]:
            chunk = first
            try:
                while chunk is not None:
                    yield chunk.bytes()
                    chunk = stream.fetch()
            except RuntimeError as error:
                raise self._engine_error(error) from error
            finally:
                stream.close()
                connection.close()

        return QueryResult(output_format, chunks(), is_partial=True)

    def _by_file(
        self, connection: Connection | SessionConnection, query: Query, statement: StatementShape, text: bytes
    ) -> QueryResult:
        """The bytes of a result that is made in a file first."""
        with ExitStack() as opened:
            file = opened.enter_context(TemporaryFile(dir=self._folder))
            # A name that no folder adds to. It is there already, and so it is only added to.
            name, place = _literal(f"/dev/fd/{file.fileno()}"), statement.format_offset
            sql = text[:place] + b"INTO OUTFILE %b APPEND " % name + text[place:]
            _require_files(connection, sql, [name])
            connection.query(sql, params=dict(query.parameters))
            opened.pop_all()
        connection.close()

        def chunks() -> Generator[bytes, None, None]:
            with file:
                file.seek(0)
                while piece := file.read(_PIECE_BYTES):
                    yield piece

        return QueryResult(statement.output_or_data_format, chunks(), is_partial=True)

    def _engine_error(self, error: RuntimeError) -> EngineError:
        message = str(error)
        found = _CODE.search(message)
        if found is None:
            return EngineError(_UNKNOWN_EXCEPTION, message)
        # chDB puts words of its own before the engine's message.
        message = message[found.start() :]
        if "(version " not in message:
            message = f"{message} (version {self.version})"
        return EngineError(int(found[1]), message)

    def _one_row(self, sql: str) -> list[str]:
        return self._text(sql).rstrip("\n").split("\t")

    def _one_column(self, sql: str) -> list[str]:
        return self._text(sql).split()

    def _text(self, sql: str) -> str:
        assert self._keeper is not None, "the engine is open"
        result: bytes = self._keeper.query(sql, "TabSeparated").bytes()
        return result.decode()


@contextmanager
def _spooled(folder: Path, pieces: Iterable[bytes]) -> Iterator[str]:
    """The path of a file with the pieces, for as long as it is needed. EngineError where the disk has no space."""
    with TemporaryFile(dir=folder) as file:
        try:
            file.writelines(pieces)
            file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise EngineError(
                _NOT_ENOUGH_SPACE, f"Cannot keep an insert: {error.strerror}. (NOT_ENOUGH_SPACE)"
            ) from error
        file.seek(0)
        # A name that no folder adds to: the engine would take some characters for a pattern.
        yield f"/dev/fd/{file.fileno()}"


def _locked(file: Path) -> TextIO:
    # The engine's own message in this case says nothing.
    lock = file.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise DataFolderInUse(
            f"{file.parent} is in use by another process: stop that one, or use another folder"
        ) from error
    return lock


def _literal(value: str | bytes) -> bytes:
    plain = value.encode() if isinstance(value, str) else value
    return b"'%b'" % plain.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\0", b"\\0")


def _require_files(connection: Connection | SessionConnection, sql: bytes, expected: list[bytes]) -> None:
    """EngineError unless these are the files that the statement names as a client would: this engine obeys.

    The engine's own parser says what it takes for code: comments within comments and quotes of other kinds, which
    `read_statement` does not know, would hide a file from that. It takes as long as a small query takes to be run.
    """
    if not expected and not _MAY_NAME_FILES.search(sql):
        return
    try:
        normal = connection.query(
            b"SELECT formatQuerySingleLine(%b)" % _literal(sql[:_HEAD_BYTES]), "TabSeparatedRaw"
        ).bytes()
    except RuntimeError as error:
        raise RuntimeError(str(error).partition(": In scope SELECT formatQuery")[0]) from error
    if files_of(normal) != expected:
        raise EngineError(_BAD_ARGUMENTS, "INTO OUTFILE and FROM INFILE are for clients. (BAD_ARGUMENTS)")


def _prepare(connection: Connection | SessionConnection, query: Query) -> None:
    """Database, settings and read-only mode, in this order, because the last forbids the others."""
    of_session = isinstance(connection, SessionConnection)
    if of_session and (query.database or query.settings):
        connection.remember(query.settings)
    if query.database:
        quoted = query.database.replace("\\", "\\\\").replace("`", "\\`")
        connection.query(f"USE `{quoted}`")
    for name in query.settings:
        if not _NAME.fullmatch(name):
            raise EngineError(_UNKNOWN_SETTING, f"Unknown setting {name!r}. (UNKNOWN_SETTING)")
    if query.settings:
        pairs = b", ".join(
            b"%b = %b" % (name.encode(), _literal(text)) for name, text in query.settings.items()
        )
        connection.query(b"SET " + pairs)
    if query.read_only and not of_session:
        connection.query("SET readonly = 2")


def _is_streamable(statement: StatementShape, query: Query, text: bytes) -> bool:
    output_format = statement.output_or_data_format or query.default_format
    words = text + b" ".join(name.encode() for name in query.settings)
    return statement.is_select and output_format in _STREAMABLE and not _WHOLE_ONLY.search(words)


def _run(
    connection: Connection | SessionConnection, query: Query, statement: StatementShape, text: bytes
) -> QueryResult:
    output_format = statement.output_or_data_format or query.default_format
    result = connection.query(text, output_format, params=dict(query.parameters))
    body = result.bytes()
    answer = QueryResult(
        output_format if body or statement.is_select else "",
        _one(body),
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )
    connection.close()
    return answer


def _one(body: bytes) -> Generator[bytes, None, None]:
    yield body
