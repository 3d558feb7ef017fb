"""How topics are made, and what `check` says where they are otherwise."""

from __future__ import annotations

import pytest

from pipeline import topics
from pipeline.commands.topic_set_up import set_up
from pipeline.roles.topology import plan

PLAN = {topic: config for topic, (_, config) in plan(8, 604_800_000).items()}


@pytest.mark.parametrize("topic", [topics.STATE, topics.ERASURES])
def test_what_counts_by_its_latest_record_is_compacted_soon_and_never_deleted_by_age(topic: str) -> None:
    config = PLAN[topic]
    assert config["cleanup.policy"] == "compact" and "retention.ms" not in config
    # Only closed segments are compacted, and a tombstone has to outlive a recovery.
    assert (
        int(config["segment.ms"]) < int(config["max.compaction.lag.ms"]) <= int(config["delete.retention.ms"])
    )


@pytest.mark.parametrize(("replicas", "wanted"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_a_host_may_be_away_wherever_there_are_several(replicas: int, wanted: str) -> None:
    assert {config["min.insync.replicas"] for _, config in plan(8, -1, replicas).values()} == {wanted}


def test_topics_as_they_are_made_are_nothing_to_speak_of() -> None:
    assert not list(set_up(PLAN, PLAN))
    assert not list(set_up(PLAN, {})), "what this user may not see"
    assert not list(set_up(PLAN, {topic: {} for topic in PLAN})), "what the broker does not tell"


def test_a_policy_that_deletes_states_is_a_fault_with_its_remedy() -> None:
    found = {**PLAN, topics.STATE: {**PLAN[topics.STATE], "cleanup.policy": "delete"}}
    [(verdict, says)] = set_up(PLAN, found)
    assert verdict == "fault"
    assert says == (
        f"cleanup.policy is delete, not compact, of {topics.STATE}. What the pipeline still needs would be deleted: "
        f"kafka-configs.sh --alter --topic {topics.STATE} --add-config cleanup.policy=compact"
    )


def test_other_differences_are_one_line_each_however_many_topics_have_them() -> None:
    found = {topic: {**config, "min.insync.replicas": "3"} for topic, config in PLAN.items()}
    [(verdict, says)] = set_up(PLAN, found)
    assert verdict == "warning" and "min.insync.replicas is 3, not 1, of " in says and " more. " in says
