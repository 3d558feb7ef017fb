"""Versions of policies at a partition: from which record on, from which event on, through crashes and recoveries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.domain.policy import MINUTE_MS, Policies, Policy
from pipeline.domain.policy_document import PolicyDocument
from pipeline.domain.privacy import Sampling, Samplings
from pipeline.formats.policy_record import control, document_of, is_control, remembered
from pipeline.roles.published import Published, RefusedPolicies
from pipeline.state.marker import newer
from pipeline.state.partition import Partition
from pipeline.state.policy_versions import POLICIES_KEY
from pipeline.state.records import Record, SourceRecord
from tests.support.single_events import AT_MS, record

LONG, SHORT = Policy(), Policy(inactivity_timeout_ms=2 * MINUTE_MS)
CUT_MS = 60 * MINUTE_MS


def version(number: int, from_ms: int, policy: Policy, **others: Any) -> PolicyDocument:
    return PolicyDocument(number, AT_MS + from_ms, Policies(LONG, {"a": policy}), **others)


FIRST, SECOND = version(1, 0, LONG), version(2, CUT_MS, SHORT)


def brings(offset: int, at_ms: int, document: PolicyDocument) -> SourceRecord:
    return SourceRecord(offset, AT_MS + at_ms, None, control(document))  # type: ignore[arg-type]


def worked(
    partition: Partition, records: Sequence[Record], kept: dict[bytes, bytes], rows: dict[str, Any]
) -> None:
    """All steps of a chunk, as the sessionizer does them."""
    effects = partition.apply(records)
    while True:
        for key, value in effects.states:
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value
        for _, row in (*effects.owed, *effects.rows):
            said = json.loads(row)
            before = rows.get(said["session_id"])
            if before is None or said["revision"] >= before["revision"]:
                rows[said["session_id"]] = said
        partition.commit(effects)
        if not effects.rest and not effects.later:
            return
        effects = partition.go_on(effects)


RECORDS: list[Record] = [
    brings(0, 0, FIRST),
    record(1, 1 * MINUTE_MS),
    record(2, 20 * MINUTE_MS),
    brings(3, 50 * MINUTE_MS, SECOND),
    record(4, 55 * MINUTE_MS),
    record(5, 61 * MINUTE_MS),
    record(6, 65 * MINUTE_MS),
    # Late, and before the cut: long timeouts hold there.
    SourceRecord(7, AT_MS + 66 * MINUTE_MS, b"a/d", record(7, 30 * MINUTE_MS).value),
    brings(8, 67 * MINUTE_MS, SECOND),
]


def starts(rows: dict[str, Any]) -> list[tuple[float, int, int]]:
    alive = [row for row in rows.values() if not row["is_deleted"]]
    return sorted(
        (row["started_at"] - AT_MS / 1_000, row["policy_version"], row["event_count"]) for row in alive
    )


def test_events_are_folded_under_the_version_of_their_time() -> None:
    rows: dict[str, Any] = {}
    worked(Partition(0, Policies()), RECORDS, {}, rows)
    # 1, 20, 30 and 55 are one session under the first; 61 is more than 2 minutes after 55, and 65 after 61.
    assert starts(rows) == [(60, 1, 4), (61 * 60, 2, 1), (65 * 60, 2, 1)]


@pytest.mark.parametrize("cut", range(1, len(RECORDS)))
def test_a_restart_anywhere_changes_nothing(cut: int) -> None:
    """Whoever takes over goes by the changelog alone, whatever its own settings say; and what comes again is known."""
    rows: dict[str, Any] = {}
    kept: dict[bytes, bytes] = {}
    worked(Partition(0, Policies()), RECORDS[:cut], kept, rows)
    other = Partition(0, Policies(SHORT) if POLICIES_KEY in kept else Policies())
    other.restore(kept)
    worked(other, RECORDS[max(0, cut - 2) :], kept, rows)
    straight: dict[str, Any] = {}
    worked(Partition(0, Policies()), RECORDS, {}, straight)
    assert starts(rows) == starts(straight)


def test_the_record_is_no_event_and_its_entry_comes_first() -> None:
    partition = Partition(0, Policies())
    effects = partition.apply(RECORDS[:2])
    assert next(key for key, _ in effects.states) == POLICIES_KEY
    assert effects.refused == 0
    assert not effects.rows
    assert partition.in_force.version == 0, "nothing holds before it is durable"
    partition.commit(effects)
    assert partition.in_force.version == 1


def test_what_cannot_be_read_is_refused_and_the_partition_goes_on() -> None:
    partition, kept, rows = Partition(0, Policies()), dict[bytes, bytes](), dict[str, Any]()
    bad = SourceRecord(0, AT_MS, None, b'{"policies":{"version":0}}')  # type: ignore[arg-type]
    assert partition.apply([bad]).refused == 1
    worked(partition, [bad, record(1)], kept, rows)
    assert len(rows) == 1
    assert POLICIES_KEY not in kept


def test_a_version_that_comes_too_late_for_its_events_folds_them_anew() -> None:
    rows: dict[str, Any] = {}
    early = [record(1, 61 * MINUTE_MS), record(2, 65 * MINUTE_MS), brings(3, 70 * MINUTE_MS, SECOND)]
    partition = Partition(0, Policies())
    worked(partition, [brings(0, 0, FIRST), *early], {}, rows)
    assert starts(rows) == [(61 * 60, 1, 2)]
    worked(partition, [record(4, 66 * MINUTE_MS)], {}, rows)
    assert starts(rows) == [(61 * 60, 2, 1), (65 * 60, 2, 2)]


def test_an_older_version_changes_nothing() -> None:
    partition, kept = Partition(0, Policies()), dict[bytes, bytes]()
    worked(partition, [brings(0, 0, SECOND), brings(1, 0, FIRST)], kept, {})
    assert partition.in_force.version == 2


def test_of_two_entries_the_one_of_the_later_record_counts() -> None:
    partition, kept = Partition(0, Policies()), dict[bytes, bytes]()
    worked(partition, [brings(0, 0, FIRST)], kept, {})
    one = kept[POLICIES_KEY]
    worked(partition, [brings(1, 0, SECOND)], kept, {})
    assert newer(one, kept[POLICIES_KEY])
    assert not newer(kept[POLICIES_KEY], one)


def test_a_document_comes_back_as_it_was() -> None:
    rates = Samplings(Sampling(0.5), {"b": Sampling(0.25)})
    document = version(7, 5, SHORT, samplings=rates)
    value = control(document)
    assert document_of(value) == document
    assert is_control(None, value)
    assert not is_control(b"a/d", value)
    assert document_of(b"{}") is None


def test_sampling_holds_from_the_record_on() -> None:
    none_of_it = Samplings(Sampling(1e-9))
    rows: dict[str, Any] = {}
    records = [record(0), brings(1, 0, version(1, 0, LONG, samplings=none_of_it)), record(2, device="e")]
    partition = Partition(0, Policies())
    worked(partition, records, {}, rows)
    assert {row["device_id"] for row in rows.values()} == {"d"}


def test_few_versions_are_remembered_and_always_one() -> None:
    assert remembered([FIRST]) == 1
    assert remembered([version(number, 0, LONG) for number in range(1, 200)]) == 100


def test_what_goes_back_or_says_something_else_is_refused() -> None:
    published = Published()
    assert published.read([control(FIRST), control(SECOND), b"x"]) == 1
    with pytest.raises(RefusedPolicies, match="goes back: version 2"):
        published.to_publish(FIRST)
    with pytest.raises(RefusedPolicies, match=r"says something else \(a\)"):
        published.to_publish(version(2, 0, LONG))
    assert published.to_publish(version(2, 0, SHORT)) == SECOND, "the very same, with its time"
    assert published.to_publish(version(3, 0, LONG)).version == 3
    with pytest.raises(RefusedPolicies, match="no policy_version"):
        published.to_publish(version(0, 0, LONG))
    assert "raise policy_version" in published.difference(version(2, 0, LONG))
    assert "newer file" in published.difference(FIRST)
    assert not published.difference(version(2, 0, SHORT))
