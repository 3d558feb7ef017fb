"""Roles and commands other than the sink: what they hold is bounded by bytes, however much one record brings."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import lz4.frame
import pytest

from pipeline.clickhouse.blocks import compressed, middle_of
from pipeline.commands import dead_letters
from pipeline.commands.documents import documents
from pipeline.commands.failure import CommandFailed
from pipeline.domain.event import Kind
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Routed, Router
from pipeline.storage import row_texts, stored_event
from pipeline.storage.dead_letter import DeadLetter
from pipeline.topics import MAX_MESSAGE_BYTES
from tests.bench.corpus import Fetched
from tests.support.worst_cases import measure_body

T0 = 1_742_296_591_764


def test_a_router_sends_on_what_it_made_before_it_reads_further() -> None:
    done: list[str] = []

    async def send(items: Sequence[Routed]) -> None:
        made = sum(len(value) for _, value, _ in items)
        assert made < 8_000_000
        done.append(f"{sum(value.count(b'measure.type') for _, value, _ in items)} events")

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        done.append(f"{len(refused)} refused")

    bodies = [measure_body(f"m{n}", T0, senders=1_500, size=4_800_000) for n in range(4)]
    chunk = [Fetched(n, T0 + 10_000_000, body.key, body.value) for n, body in enumerate(bodies)]
    chunk[1] = Fetched(1, T0, None, b"no body")
    router = Router(send, dead_letter, Metrics())
    asyncio.run(router.handle("measure-events", 0, chunk))
    assert done == ["1500 events", "1500 events", "1 refused", "1500 events"]


def test_the_events_of_a_stored_device_share_its_texts() -> None:
    facts = json.dumps({"a": "x" * 60_000})
    user = json.dumps({"id": "y" * 100}, separators=(",", ":"))
    line = ["app", "d", 0, 1, T0, T0, next(iter(Kind)).label, 0, "e", "", "", 0, facts, user, "",
            T0, 0, "2026-01-05", 0]  # fmt: skip
    lines = [json.dumps([*line[:8], f"e{n}", *line[9:]]).encode() for n in range(20)]
    (device,) = stored_event.devices(lines)
    events = [event for record in device.records for event in record.events]
    assert len(events) == 20
    assert len({id(event.resource) for event in events}) == len({id(event.user) for event in events}) == 1
    assert (events[0].resource, events[0].user) == (facts, user)


def test_dead_letters_are_sent_again_in_portions_of_bounded_size() -> None:
    value = base64.b64encode(b"x" * 600)
    found = list(dead_letters._portions([value] * 10 + [b"y"] * 7, 3, 2_000))
    assert [len(some) for some in found] == [3, 3, 3, 3, 3, 2]
    found = list(dead_letters._portions([value * 3] * 3, 1_000, 2_000))
    assert [len(some) for some in found] == [1, 1, 1]
    assert not list(dead_letters._portions([], 3, 2_000))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_that_no_topic_takes_is_not_read_to_its_end(tmp_path: Path, end: bytes) -> None:
    largest, more = tmp_path / "largest", tmp_path / "more"
    largest.write_bytes(b"a\n" + b"x" * MAX_MESSAGE_BYTES + end)
    assert [len(line.document) for line in documents(str(largest))] == [1, MAX_MESSAGE_BYTES]
    more.write_bytes(b"x" * (MAX_MESSAGE_BYTES + 10) + end)
    with pytest.raises(CommandFailed, match="8000000 bytes"):
        list(documents(str(more)))


def test_a_block_is_halved_between_rows_and_by_bytes() -> None:
    block = b"a\n" * 50 + b"b" * 100 + b"\n" + b"c"
    at = middle_of(block, 0, len(block))
    assert at == 99, "the end of the last short row, not of the 25th"
    assert middle_of(block, 100, 200) is None
    assert middle_of(b"ab", 0, 2) is None


@pytest.mark.parametrize("size", [0, 1, 999_999, 1_000_000, 3_500_001])
def test_a_block_that_is_compressed_step_by_step_is_whole(size: int) -> None:
    block = bytes(n * n % 251 for n in range(1_009)) * (size // 1_009 + 1)
    assert lz4.frame.decompress(compressed(block[:size])) == block[:size]


def test_texts_of_resources_and_users_are_kept_within_a_bound_on_bytes() -> None:
    kept = row_texts.resource_texts.__self__
    for n in range(1_200):
        row_texts.resource_texts(json.dumps({"service.version": f"{n}" + "v" * 60_000}))
    assert kept.byte_count <= 32_000_000
    assert 0 < len(kept) < 200


REBUILT = """
import json, resource, sys
from pipeline.domain.event import Kind
from pipeline.domain.policy import Policy
from pipeline.state.rebuild import rebuild_device
from pipeline.storage import stored_event
from tests.support.worst_cases import user
label = {kind: kind.label for kind in Kind}
user_json = json.dumps(user("u"), separators=(",", ":"), ensure_ascii=False)
def lines():
    for n in range(600):
        kind = label[(Kind.FOREGROUND, Kind.BACKGROUND)[n % 2]]
        row = ["app", "d", 0, n, 2 * 10**12, 10**12 + 1_000 * n, kind, 0, f"e{n}", "", "", 0, "{}", user_json, ""]
        row += [10**12 + 1_000 * n, 0, "2026-01-05", 0]
        yield json.dumps(row).encode()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(device,) = stored_event.devices(lines())
rebuilt = rebuild_device(device, Policy(), 3 * 10**12, 0)
size = sum(len(row) for _, row in rebuilt.rows)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(rebuilt.facts), size // 10**6, (after - before) // 1000)
"""


@pytest.mark.slow
def test_a_device_is_rebuilt_in_less_memory_than_its_rows_take() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REBUILT], capture_output=True, text=True, timeout=60, check=True
    )
    sessions, rows_mb, taken_mb = map(int, done.stdout.split())
    assert sessions == 300
    assert rows_mb > 110
    assert taken_mb < 40
