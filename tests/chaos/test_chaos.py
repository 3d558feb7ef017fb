"""A short schedule on each broker, and that the verifier can fail."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.chaos.ledger_watch import PARTS, unbalanced
from tests.chaos.load import Identity, Said
from tests.chaos.run import Order, run
from tests.chaos.schedule import Fault, Outage, kills_of, rebalances_of
from tests.chaos.verify import Found, Verdict, judge
from tests.support.expected_rows import session_rows, stored_events

SHORT = {
    "kafka": Order("kafka", events=6_000, kills=4, rebalances=1, faults=2, seed=58),
    # Without the heavy device: what that costs is seen on Kafka.
    "embedded": Order("embedded", events=4_000, kills=2, rebalances=1, faults=1, seed=128, heavy=0),
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", SHORT)
def test_nothing_is_missing_double_or_wrong(
    kind: str, clickhouse: EmbeddedClickHouse, tmp_path: Path
) -> None:
    outcome = run(SHORT[kind], tmp_path, clickhouse, lambda line: print(line, flush=True))
    print(json.dumps(outcome.numbers))
    assert outcome.is_good, [*outcome.verdict.examples, *outcome.problems]


def test_the_watch_over_the_ledger_finds_what_does_not_balance() -> None:
    row = {"received": 9, **dict.fromkeys(PARTS, 0), "events": 6, "duplicates": 2, "refused": 1}
    assert not unbalanced(row)
    assert "does not balance" in unbalanced({**row, "events": 5})
    assert "fewer than no duplicates" in unbalanced({**row, "events": 9, "duplicates": -1})


@pytest.mark.parametrize("seed", range(6))
def test_a_schedule_holds_what_was_ordered(seed: int) -> None:
    order = Order("kafka", events=1, kills=50, rebalances=10, faults=6, seed=seed)
    acts = [step.act for step in order.steps()]
    assert acts == [step.act for step in order.steps()], "the seed decides"
    assert sum(map(kills_of, acts)) == 50
    assert sum(map(rebalances_of, acts)) == 10
    assert {act.fault for act in acts if isinstance(act, Outage)} == set(Fault)


SENT = {
    Identity("org.example.app", f"device-{number % 2}", f"event-{number}"): Said(
        1_767_600_000_000 + number * 3_000_000, "app.screen.view", number
    )
    for number in range(12)
}


def found() -> Found:
    """What must be found after SENT, each event in a record of its own."""
    events = [
        {
            "app_id": identity.app_id,
            "device_id": identity.device_id,
            "event_id": identity.event_id,
            "time_ms": said.raw_time_ms,
            "kind": "activity",
            "seq": said.seq,
            "client_session_id": "",
            "exit_reason": "",
            "counters": 0,
            "resource_json": "{}",
            "user_json": "",
            "app_state": "",
        }
        for identity, said in SENT.items()
    ]
    count = len(SENT)
    return Found(
        said=[{**identity._asdict(), **said._asdict()} for identity, said in SENT.items()],
        events=events,
        sessions=session_rows(stored_events(events), Policy()),
        ledger=[
            {
                "partition": 0,
                "first_offset": 0,
                "last_offset": count - 1,
                "records": count,
                "received": count,
                "events": count,
                "duplicates": 0,
                "refused": 0,
            }
        ],
        ends={0: count},
        contradictions=[],
        dead_letters=0,
    )


def counts(changed: Found) -> tuple[int, int, int]:
    """Missing, double, wrong."""
    verdict = judge(SENT, len(SENT), changed, Policy())
    assert verdict.rows_checked
    assert verdict.is_good == (not verdict.examples)
    return verdict.missing, verdict.double, verdict.wrong


def test_the_verifier_is_content_with_what_must_be_stored() -> None:
    assert len(found().sessions) == len(SENT), "every event is a session of its own"
    assert counts(found()) == (0, 0, 0)


def change(rows: str, name: str, value: object) -> Callable[[Found], None]:
    return lambda it: getattr(it, rows)[3 if rows != "ledger" else 0].update({name: value})


CHANGES: dict[str, tuple[Callable[[Found], object], tuple[int, int, int]]] = {
    "an event is missing": (lambda it: it.said.pop(3), (1, 0, 0)),
    "an event is there twice": (lambda it: it.said.append(it.said[3]), (0, 1, 0)),
    "an event says another time": (change("said", "raw_time_ms", 1), (0, 0, 1)),
    "an event that nobody sent": (lambda it: it.said.append({**it.said[3], "event_id": "x"}), (0, 0, 1)),
    "a session is missing": (lambda it: it.sessions.pop(3), (1, 0, 0)),
    "a session is there twice": (lambda it: it.sessions.append(copy.deepcopy(it.sessions[3])), (0, 1, 0)),
    "a session ends for another reason": (change("sessions", "end_reason", "crash"), (0, 0, 1)),
    "a session that is not in the fold": (change("sessions", "session_id", "x"), (1, 0, 1)),
    "a gap in the ledger": (change("ledger", "first_offset", 1), (0, 0, 2)),
    "the ledger ends early": (change("ledger", "last_offset", 10), (0, 0, 2)),
    "the ledger does not balance": (change("ledger", "duplicates", 1), (0, 0, 1)),
    "an event was refused": (lambda it: it.ledger[0].update(refused=1, duplicates=-1), (0, 0, 2)),
    "two rows of one revision differ": (lambda it: it.contradictions.append({}), (0, 0, 1)),
    "a dead letter": (lambda it: setattr(it, "dead_letters", 1), (0, 0, 1)),
    "a misplaced record that is not in the account": (
        lambda it: (setattr(it, "dead_letters", 1), setattr(it, "wrong_partitions", 1)),
        (0, 0, 1),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_verifier_finds(what: str) -> None:
    apply, wanted = CHANGES[what]
    changed = found()
    apply(changed)
    assert counts(changed) == wanted


def test_the_verifier_misses_misplaced_records_that_were_not_refused() -> None:
    told = found()
    told.ledger[0].update(refused=2, received=len(SENT) + 2)
    told.dead_letters = told.wrong_partitions = 2
    assert judge(SENT, len(SENT), told, Policy(), misplaced=2).is_good
    verdict = judge(SENT, len(SENT), told, Policy(), misplaced=3)
    assert (verdict.missing, verdict.double, verdict.wrong) == (0, 0, 2)


def test_the_verifier_does_not_pass_on_nothing() -> None:
    with pytest.raises(AssertionError, match="no events to compare"):
        judge({}, 0, found(), Policy())
    empty = found()
    empty.events.clear()
    with pytest.raises(AssertionError, match="no sessions to compare"):
        judge(SENT, len(SENT), empty, Policy())
    assert Verdict().rows_checked == 0


def test_of_what_was_stamped_anew_either_copy_may_have_come_first_and_one_is_stored() -> None:
    name, said = next(iter(SENT.items()))
    again = {name: said._replace(raw_time_ms=said.raw_time_ms - 1)}
    told = found()
    told.said[0] |= again[name]._asdict()
    assert judge(SENT, len(SENT), told, Policy(), again=again).is_good
    assert judge(SENT, len(SENT), told, Policy()).wrong == 1
    told.said.append({**name._asdict(), **said._asdict()})
    assert judge(SENT, len(SENT), told, Policy(), again=again).double == 1
