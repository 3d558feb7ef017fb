"""What `check` says of topics that are not set up as they would be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_NAMED = 4


def set_up(
    planned: Mapping[str, Mapping[str, str]], found: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """`fault` or `warning`, and what is said, for each setting that is another one; `found` has the topics that this
    user may see. A setting that the broker does not tell is as good as any."""
    different: dict[tuple[str, str, str], list[str]] = {}
    for topic, config in planned.items():
        for name, value in config.items():
            if (now := found.get(topic, {}).get(name, value)) != value:
                different.setdefault((name, now, value), []).append(topic)
    for (name, now, value), some in sorted(different.items()):
        named = ", ".join(some[:_NAMED]) + (f" and {len(some) - _NAMED} more" if len(some) > _NAMED else "")
        yield (
            _verdict(name, now, value),
            (
                f"{name} is {now}, not {value}, of {named}. {_WHY.get(name, 'Change it there if it was not meant')}: "
                f"kafka-configs.sh --alter --topic {some[0]} --add-config {name}={value}"
            ),
        )


def _verdict(name: str, now: str, value: str) -> str:
    is_lost = name == "cleanup.policy" and "delete" in now and value == "compact"
    return "fault" if is_lost or (name == "cleanup.policy" and value == "delete") else "warning"


_WHY = {
    "cleanup.policy": "What the pipeline still needs would be deleted",
    "max.compaction.lag.ms": "What was erased or replaced stays for that long",
    "max.message.bytes": "Records that are allowed would be refused",
    "message.timestamp.type": "Clocks of devices would be corrected by the producers' clocks",
    "min.insync.replicas": "A record would count as written with another number of replicas",
    "retention.ms": "Input would be kept for another time (PIPELINE_TOPIC_RETENTION)",
    "segment.bytes": "Less would be compacted, and recovery read more",
    "segment.ms": "Less would be compacted, and recovery read more",
}
"""What follows, by setting."""
