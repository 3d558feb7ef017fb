"""What one owner of a partition leaves to the next, and to itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest

from pipeline.domain.policy import Policies, Policy
from pipeline.roles.metrics import Metrics
from pipeline.roles.sessionizer import Sessionizer
from pipeline.state.codec.session_codec import checkpoint
from pipeline.state.partition import Partition
from tests.support.single_events import AT_MS, HORIZON_MS, IDLE_MS, POLICIES, record

KEY = b"a/d"


def test_what_is_held_is_the_same_for_the_next_owner_when_the_policy_changed() -> None:
    """A visit that its background ended; under the new policy it would have been four."""
    first, changelog = Partition(0, POLICIES), dict[bytes, bytes]()
    visit = [record(0, 0, state="foreground"), record(1, 10_000), record(2, 20_000)]
    effects = first.apply([*visit, record(3, 30_000, state="background")])
    changelog.update(effects.states)

    new = Policies(Policy(inactivity_timeout_ms=3_000, restate_horizon_ms=HORIZON_MS))
    second = Partition(0, new)
    second.restore(changelog)
    effects = second.apply([record(4, 2 * HORIZON_MS, device="clock")])
    second.commit(effects)
    silence = second.tick(AT_MS + 2 * HORIZON_MS, caught_up=False)
    assert silence is not None
    second.commit(silence)
    changelog.update([*effects.states, *silence.states])
    said = [json.loads(row) for key, row in silence.rows if key == KEY]
    assert [(row["end_reason"], row["event_count"], row["is_final"]) for row in said] == [
        ("background", 4, True)
    ]

    third = Partition(0, new)
    third.restore(changelog)
    assert third._store.load(KEY) == second._store.load(KEY)
    assert third._store.load(KEY).named == ("d0",)


def test_silence_that_is_durable_is_taken_over_though_the_assignment_ended_meanwhile() -> None:
    """The next assignment may keep the partition, and what this worker holds of it."""
    mine = True
    rows = list[bytes]()

    async def send(topic: str, partition: int, items: Iterable[tuple[bytes, bytes]]) -> None:
        nonlocal mine
        if topic == "sessions":
            rows.extend(row for _, row in items)
        else:
            mine = False

    async def nothing(_: object) -> None:
        raise AssertionError("nothing is refused here")

    sessionizer = Sessionizer(
        POLICIES,
        changelog_topic="states",
        sessions_topic="sessions",
        send=send,
        dead_letter=nothing,
        metrics=Metrics(),
    )
    sessionizer.recovered(0, {})
    assert asyncio.run(sessionizer.handle(0, [record(0, state="foreground")], lambda: True))
    rows.clear()

    def tick() -> None:
        asyncio.run(sessionizer.tick(0, AT_MS + IDLE_MS, caught_up=True, still_mine=lambda: mine))

    mine = True
    tick()
    assert [json.loads(row)["end_reason"] for row in rows] == ["inactivity"]
    assert not mine
    mine = True
    tick()
    assert len(rows) == 1, "it is said once"


def test_a_late_event_before_the_silence_of_a_horizon_counts_in_one_chunk_as_in_two() -> None:
    """Where the tail is behind when it is moved, what is held is folded anew and not taken as it was told."""
    late = [
        record(0, 10_000, state="background"),
        record(1, 0, state="foreground"),
        record(2, 2 * HORIZON_MS, state="foreground"),
    ]
    # The second comes after the first, late as it is.
    late[1] = late[1]._replace(timestamp=AT_MS + 11_000)
    at_once, in_two = Partition(0, POLICIES), Partition(0, POLICIES)
    at_once.commit(at_once.apply(late))
    for chunk in (late[:2], late[2:]):
        in_two.commit(in_two.apply(chunk))
    one, two = at_once._store.load(KEY), in_two._store.load(KEY)
    assert one.head == two.head
    assert checkpoint(one) == checkpoint(two)


@pytest.mark.parametrize("fails_at", ["states", "sessions"])
def test_after_a_write_of_which_nobody_knows_how_much_landed_nothing_more_is_written(fails_at: str) -> None:
    """Silence writes the whole state of a device, and the broker's answer is lost. The chunk that waits meanwhile would
    go on from the state before, with steps that do not fit what is durable."""
    written: list[str] = []
    sending, lost = asyncio.Event(), asyncio.Event()
    fails = False

    async def send(topic: str, partition: int, items: Iterable[tuple[bytes, bytes]]) -> None:
        written.append(topic)
        if fails and topic == fails_at:
            sending.set()
            await lost.wait()
            raise TimeoutError

    async def nothing(_: object) -> None:
        raise AssertionError("nothing is refused here")

    sessionizer = Sessionizer(
        POLICIES,
        changelog_topic="states",
        sessions_topic="sessions",
        send=send,
        dead_letter=nothing,
        metrics=Metrics(),
    )
    sessionizer.recovered(0, {})

    async def run() -> bool:
        nonlocal fails
        assert await sessionizer.handle(0, [record(0, state="foreground")], lambda: True)
        fails = True
        written.clear()
        tick = asyncio.create_task(
            sessionizer.tick(0, AT_MS + IDLE_MS, caught_up=True, still_mine=lambda: True)
        )
        await sending.wait()
        chunk = asyncio.create_task(sessionizer.handle(0, [record(1, 1)], lambda: True))
        await asyncio.sleep(0)
        fails = False
        lost.set()
        with pytest.raises(TimeoutError):
            await tick
        return await chunk

    assert not asyncio.run(run())
    assert written[-1] == fails_at

    # Whoever recovers it goes on, this worker too.
    sessionizer.recovered(0, {})
    assert asyncio.run(sessionizer.handle(0, [record(1, 1)], lambda: True))
