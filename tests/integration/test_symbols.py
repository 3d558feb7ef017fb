"""Symbol files in ClickHouse: crashes are grouped by them as they come and once more as files come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.clickhouse.store import Store, Unreachable
from pipeline.clickhouse.symbol_files import SymbolFiles
from pipeline.commands import symbol_changes
from pipeline.commands import symbols as commands
from pipeline.commands.failure import CommandFailed
from pipeline.domain.retention import FOR_EVER, Retention, Retentions
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.roles.metrics import Metrics
from pipeline.roles.regroup import regroup
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.roles.sink.symbolicating import Symbolicating
from pipeline.settings import Settings, load
from pipeline.storage.kept import Keeping
from pipeline.storage.rows import event_line, unpacked
from pipeline.symbols.shelf import Shelf
from tests.bench.corpus import Fetched
from tests.support.cores import core_or_skip
from tests.support.migrated import empty, migrate
from tests.support.symbols import CART_UUID, DATA, stored_file
from tests.support.symbols import read as read_symbols

APP, OTHER = "org.example.shop", "org.example.other"
T0 = 1_767_600_000_000
STACK = "a.c: cart is empty\n\tat a.a.a(SourceFile:1)\n\tat a.b.onCreate(SourceFile:1)"
CULPRIT = "Cart.pay (Cart.kt)"
FOREVER = Keeping(Retentions(Retention(FOR_EVER, FOR_EVER)))


class World:
    """A database with crashes of two builds."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.settings: Settings = load({"PIPELINE_CLICKHOUSE_URL": url})
        self._offset = self._blocks = 0

    def crash(
        self, id: str, *, app: str = APP, version: str = "2.0", build: str = "7", **attributes: str
    ) -> bytes:
        """The row of an envelope with a crash, as the sink makes it."""
        said = attributes or {
            "exception.type": "a.c",
            "exception.message": "m",
            "exception.stacktrace": STACK,
        }
        # What a device says is never taken for what the sink says.
        odd = {"body": '"failures":[1]', "failure_symbols": [[1]], "failures": [1]}
        events = [
            {"id": f"{id}-0", "name": "log", "time": T0, "attributes": odd},
            {"id": id, "name": "app.crash", "time": T0 + 1, "attributes": said},
        ]
        resource = {"service.version": version, "app.build_id": build}
        body = {"v": 1, "app_id": app, "device_id": f"d-{id}", "resource": resource, "events": events}
        envelope = native.decode(orjson.dumps(body), f"{app}/d-{id}".encode(), T0 + 1_000)
        assert isinstance(envelope, native.Envelope), envelope
        self._offset += 1
        return event_line(envelope, topic="sdk-events", partition=0, offset=self._offset)

    def put(self, *rows: bytes, symbolicating: Symbolicating | None = None) -> None:
        """Store rows as the sink does."""
        self._blocks += 1
        block, token = b"\n".join(rows), f"t{self._blocks}"
        self.store.insert("z_envelope_feed", block, token=token)
        if symbolicating:
            asyncio.run(symbolicating.stored(block, token=token))

    def symbolicating(self) -> Symbolicating:
        return Symbolicating(Shelf(SymbolFiles(self.store)), self._insert)

    async def _insert(self, table: str, rows: bytes, *, token: str) -> Sequence[Any]:
        return await self.store.insert_forever(table, rows, token=token)

    def ask(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.store.query(sql, parameters).splitlines()]

    def count(self, table: str) -> int:
        return int(self.ask(f"SELECT count() AS n FROM {table}")[0]["n"])

    def groups(self) -> dict[str, tuple[str, str]]:
        """Group and culprit of each event."""
        rows = self.ask("SELECT event_id, crash_group, culprit FROM z_crashes")
        return {row["event_id"]: (row["crash_group"], row["culprit"]) for row in rows}

    def missing(self, app: str = APP) -> list[tuple[str, str, str, int]]:
        rows = self.ask(
            "SELECT * FROM missing_symbols(app_id = {app:String}, from = '2026-01-01', until = '2026-02-01')",
            app=app,
        )
        return [
            (row["kind"], row["id"] or row["name"], row["app_version"], int(row["crashes"])) for row in rows
        ]

    def upload(self, *paths: Path, app: str = APP, version: str = "2.0", build: str = "") -> None:
        commands.upload(self.settings, paths, app, version, build)


@pytest.fixture(scope="module")
def url(clickhouse: EmbeddedClickHouse) -> Iterator[str]:
    """One database for all tests here."""
    with closing(Store(f"{clickhouse.url}/test_symbols")) as store:
        migrate(store)
    yield f"{clickhouse.url}/test_symbols"
    clickhouse.command("DROP DATABASE test_symbols SYNC")


@pytest.fixture
def world(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Nothing is stored yet."""
    monkeypatch.setattr(symbol_changes, "LIST_AGE_S", -1)
    with closing(Store(url)) as store:
        empty(store)
        yield World(store, url)


def test_an_upload_groups_the_crashes_of_its_build_anew_and_no_others(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.put(
        world.crash("seven"), world.crash("eight", version="3.0"), world.crash("other", app=OTHER),
        world.crash("debug", **{
            "exception.type": "org.example.shop.EmptyCart",
            "exception.stacktrace": "\tat org.example.shop.Cart.pay(Cart.kt:12)\n"
            "\tat org.example.shop.CartActivity.onCreate(CartActivity.kt:21)",
        }),
    )  # fmt: skip
    # An envelope that ClickHouse refuses is stored event by event.
    alone = world.crash("alone")
    world.store.insert("z_event_feed", unpacked(alone), token="alone")
    before = world.groups()
    assert len({before[id] for id in ("seven", "eight", "other", "alone")}) == 1
    assert world.missing() == [("proguard", "", "2.0", 2), ("proguard", "", "3.0", 1)]
    world.upload(DATA / "mapping.txt", version="2.0", build="7")
    after = world.groups()
    assert after["seven"] == after["alone"] == after["debug"] and after["seven"][1] == CULPRIT
    assert {id for id in after if after[id] != before[id]} == {"seven", "alone"}
    assert world.missing() == [("proguard", "", "3.0", 1)] and world.missing(OTHER) == [
        ("proguard", "", "2.0", 1)
    ]
    # Of what the debug build wrote the file might have told more.
    assert "3 stored crashes, ANRs and exceptions are regrouped" in capsys.readouterr().out
    # The same again is there already, and groups nothing.
    world.upload(DATA / "mapping.txt", version="2.0", build="7")
    said = capsys.readouterr().out
    assert "is there" in said and said.endswith("0 stored crashes, ANRs and exceptions are regrouped\n")
    assert world.count("symbol_files") == 1
    # Everything anew, as `regroup` does, comes to the same; so does what `migrate` does.
    shelf = Shelf(SymbolFiles(world.store))
    assert regroup(world.store, "all", all=True, shelf=shelf) == 5 and world.groups() == after
    assert regroup(world.store, "rest", shelf=shelf) == 0
    files = SymbolFiles(world.store).listed(APP)
    with pytest.raises(CommandFailed, match="no such file"):
        commands.delete(world.settings, OTHER, [files[0].digest], "", "")
    commands.delete(world.settings, APP, [files[0].digest[:8]], "", "")
    assert world.groups() == before and world.missing()[0] == ("proguard", "", "2.0", 2)
    assert world.count("z_symbol_part_rows") == 0


def test_what_comes_after_the_upload_is_grouped_as_it_comes(world: World) -> None:
    world.upload(DATA / "mapping.txt", version="2.0", build="7")
    stale, sink = Shelf(SymbolFiles(world.store)), world.symbolicating()
    world.put(world.crash("seven"), world.crash("eight", version="3.0"), symbolicating=sink)
    found = world.groups()
    assert found["seven"][1] == CULPRIT and found["eight"][1] == "a.a.a"
    # Read again in other blocks, as after a crash of the sink, it comes to the same.
    world._offset = 0
    again = [world.crash("seven"), world.crash("eight", version="3.0")]
    for row in again:
        world.put(row, symbolicating=sink)
    assert world.groups() == found
    # A sink that did not know of a file yet: the next look at it makes up for that.
    world.put(world.crash("late"))
    assert world.groups()["late"][1] == "a.a.a"
    assert regroup(world.store, "late", shelf=stale) == 1 and world.groups()["late"] == found["seven"]


@pytest.mark.parametrize("by", ["python", "core"])
def test_a_sink_groups_what_it_stores_by_the_files(world: World, by: str) -> None:
    world.upload(DATA / "mapping.txt", version="2.0", build="7")
    records = []
    for number, (version, stack) in enumerate((("2.0", STACK), ("3.0", STACK), ("2.0", ""))):
        said = {
            "exception.type": "a.c",
            "exception.message": "m",
            **({"exception.stacktrace": stack} if stack else {}),
        }
        crash = {"id": f"c{number}", "name": "app.crash", "time": T0 + 1, "attributes": said}
        resource = {"service.version": version, "app.build_id": "7"}
        body = {"v": 1, "app_id": APP, "device_id": f"d{number}", "resource": resource, "events": [crash]}
        records.append(Fetched(number, T0 + 1_000, f"{APP}/d{number}".encode(), orjson.dumps(body)))

    async def refused(_: Sequence[Any]) -> None:
        raise AssertionError

    async def take() -> None:
        sink = Sink(
            world.store.insert_forever, refused, Metrics(), bounds=Bounds(max_rows=0), keeping=FOREVER,
            symbolicating=world.symbolicating(), core=core_or_skip() if by == "core" else None,
            insert_native=world.store.insert_native_forever,
        )  # fmt: skip
        pieces = list(sink.event_pieces(Source("sdk-events", 0), records))
        assert bool(pieces[0].block) == (by == "core")
        await sink.events.add_all(iter(pieces), acknowledge=lambda: None, still_mine=lambda: True)

    asyncio.run(take())
    assert [world.groups()[f"c{number}"][1] for number in range(3)] == [CULPRIT, "a.a.a", ""]


def test_a_sink_waits_for_files_that_cannot_be_had_just_now(world: World) -> None:
    world.upload(DATA / "mapping.txt", version="2.0", build="7")

    class Away(SymbolFiles):
        tries = 0

        def listed(self, app_id: str = "") -> list[Any]:
            Away.tries += 1
            if Away.tries < 3:
                raise Unreachable("not now")
            return super().listed(app_id)

    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    sink = Symbolicating(Shelf(Away(world.store)), world._insert, pause)
    world.put(world.crash("seven"), symbolicating=sink)
    assert world.groups()["seven"][1] == CULPRIT and len(waited) == 2


def test_other_kinds_and_what_is_missing_of_them(world: World) -> None:
    calls = [{"instruction_addr": 0x5498, "object_addr": 0x4000, "object_name": "Cart"}]
    image = {
        "image_addr": 0x4000,
        "image_size": 0x4000,
        "name": "/x/Cart",
        "uuid": CART_UUID,
        "cpu_type": 16777228,
    }
    report = {
        "crash": {"threads": [{"crashed": True, "backtrace": {"contents": calls}}]},
        "binary_images": [image],
    }
    script = "https://shop.example/assets/main.3f2a9c0d.js"
    world.put(
        world.crash("apple", **{"emb.payload": orjson.dumps(report).decode(), "exception.type": "SIGSEGV"}),
        world.crash("web", **{"exception.type": "TypeError", "exception.stacktrace": f"n@{script}:1:58"}),
    )
    assert sorted(world.missing()) == [("native", CART_UUID, "2.0", 1), ("sourcemap", script, "2.0", 1)]
    world.upload(DATA / "Cart.dSYM.zip", DATA / "assets")
    assert {id: culprit for id, (_, culprit) in world.groups().items()} == {
        "apple": "first_item (cart.c)", "web": "total (cart.ts)",
    }  # fmt: skip
    assert world.missing() == []


def test_refused_files_are_named_and_the_others_are_stored(world: World, tmp_path: Path) -> None:
    (tmp_path / "noise.bin").write_bytes(bytes(1_000))
    with pytest.raises(CommandFailed, match=r"noise\.bin: it is neither"):
        world.upload(tmp_path / "noise.bin", DATA / "mapping.txt")
    assert world.ask("SELECT kind, name FROM symbol_files") == [{"kind": "proguard", "name": "mapping.txt"}]
    for path, word in ((DATA / "mapping.txt", "give --version"), (DATA / "assets", "give --version")):
        with pytest.raises(CommandFailed, match=word):
            world.upload(path, version="")
    small = load(
        {"PIPELINE_CLICKHOUSE_URL": f"{world.settings.clickhouse_url}", "PIPELINE_SYMBOLS_BYTES": "1000000"}
    )
    (tmp_path / "large.txt").write_bytes((DATA / "mapping.txt").read_bytes() * 1_500)
    with pytest.raises(CommandFailed, match="PIPELINE_SYMBOLS_BYTES"):
        commands.upload(small, [tmp_path / "large.txt"], APP, "9", "")
    with pytest.raises(CommandFailed, match="contains no symbol file"):
        (tmp_path / "empty").mkdir()
        world.upload(tmp_path / "empty")


def test_an_upload_that_was_cut_off_leaves_nothing_that_is_listed(world: World) -> None:
    files = SymbolFiles(world.store)
    (mapping,) = read_symbols(DATA / "mapping.txt")
    whole = stored_file(APP, mapping, "2.0")
    data = [*mapping.parts, bytes(range(256)) * 10, b'\\"\n\r\t\x00\xff' * 100]
    # Killed between its parts and its row.
    world.store.insert(
        "z_symbol_part_rows", b'{"digest":"%b","number":0,"data":"half"}' % (b"f" * 32), token="x"
    )
    assert files.listed() == []
    files.add(whole, data, now_ms=T0)
    files.sweep()
    assert world.ask("SELECT DISTINCT digest FROM z_symbol_part_rows") == [{"digest": whole.digest}]
    assert files.whole(whole.digest) == b"".join(data), "byte for byte"
    assert [files.part(whole.digest, number) for number in range(4)] == [*data, b""]
    # Two apps with one file have its parts once, and it stays until both are done with it.
    other = stored_file(OTHER, mapping, "1.0")
    files.add(other, data, now_ms=T0 + 1)
    files.delete([whole], now_ms=T0 + 2)
    assert [file.app_id for file in files.listed()] == [OTHER]
    assert files.whole(whole.digest) == b"".join(data)
    # What was taken out can come again.
    files.add(whole, data, now_ms=T0 + 3)
    assert len(files.listed()) == 2
