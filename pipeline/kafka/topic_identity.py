"""What follows from the id of a topic, and from how many partitions it has. Decides, and reaches nothing.

A topic that was deleted and made anew has the name of the old one, and its offsets begin at 0 again. Once it has grown
beyond the old offsets nothing but the id that the broker gave it tells them apart. Where a broker gives none, an id is
"", and is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline import topics
from pipeline.errors import Terminal
from pipeline.topics import TP

RUNBOOK = "see deploy/runbook.md, 'A topic was made anew'"
_COUNT_RUNBOOK = "see deploy/runbook.md, 'The number of partitions changed'"
_ID, _LOST = "topic-id", "lost"


class TopicMadeAnew(Terminal):
    """A topic is not the one that was read before. Terminal: its offsets mean other records than those stored."""

    @classmethod
    def by_id(cls, topic: str, was: str, now: str) -> TopicMadeAnew:
        """The broker says so."""
        return cls(f"{topic} was made anew: its id was {was} and is {now}. {remedy(topic)}")

    @classmethod
    def by_end(cls, tp: TP, end: int, seen: int) -> TopicMadeAnew:
        """What is stored of a partition lies beyond the end of its log."""
        return cls(
            f"{tp.topic}[{tp.partition}] ends at offset {end}, but what was stored of it reaches to {seen}: the topic "
            f"was made anew, or its broker lost data. {remedy(tp.topic)}"
        )


def remedy(topic: str) -> str:
    """What is to be done where a topic was made anew."""
    if topic == topics.SDK_EVENTS:
        return f"PIPELINE_OFFSET_BASE has to be above all stored offsets; {RUNBOOK}"
    if topic == topics.STATE:
        return f"Stop all sessionizers, then: session-pipeline rebuild --states; {RUNBOOK}"
    if topic == topics.ERASURES:
        return (
            "Workers that start no longer know what was erased: session-pipeline migrate makes it, then "
            f"give each erasure again; {RUNBOOK}"
        )
    if topic == topics.POLICIES:
        return (
            "Workers that start do not know what was published, where they do not read it among the events: "
            f"session-pipeline migrate makes it, then session-pipeline policies publish; {RUNBOOK}"
        )
    return f"What it held and was not read is gone; session-pipeline migrate --made-anew {topic}; {RUNBOOK}"


def gone(topic: str) -> str:
    """What is said of a topic that was there."""
    return f"{topic} does not exist any more in Kafka. {remedy(topic)}"


def made_anew_while_written(topic: str, was: str, now: str) -> str:
    """What is said of a topic that an app writes, and others read, or that it goes by as a list."""
    return str(TopicMadeAnew.by_id(topic, was, now))


def has_other_count(topic: str, now: int, wanted: int) -> str:
    """What is said of a topic with another number of partitions than the settings say, where the work can go on."""
    if topic in topics.LISTS:
        return (
            f"{topic} has {now} partitions and must have one: what is in others is not read. {remedy(topic)}"
        )
    return f"{topic} has {now} partitions, and this worker goes by {wanted}. {count_remedy({topic: now}, wanted)}"


def count_remedy(found: Mapping[str, int], wanted: int) -> str:
    """What is to be done where topics have not as many partitions as is wanted: one way, however many topics differ."""
    most = max([wanted, *found.values()])
    return (
        f"Stop all workers, then: session-pipeline repartition --partitions {most}, which gives all topics as many and "
        f"says what to set; {_COUNT_RUNBOOK}"
    )


def other_counts(found: Mapping[str, int], wanted: Mapping[str, int]) -> str:
    """What is said, in one line, of topics that have not the wanted numbers of partitions; empty if all have.

    `found` are those that exist, of all that somebody looked at.
    """
    wrong = {topic: count for topic, count in sorted(found.items()) if count != wanted[topic]}
    if not wrong:
        return ""
    for each in topics.LISTS:
        if each in wrong:
            return has_other_count(each, wrong[each], 1)
    [count] = {wanted[topic] for topic in wrong}
    told = ", ".join(f"{topic} has {now}" for topic, now in wrong.items())
    others = {now for topic, now in found.items() if topic not in topics.LISTS}
    as_they_are = ""
    if len(others) == 1 and max(others) < count:
        as_they_are = f"Set PIPELINE_PARTITIONS={max(others)}, as all of them have; or for more of them: "
    return f"{told} partitions, and PIPELINE_PARTITIONS is {count}. {as_they_are}{count_remedy(found, count)}"


def require_same(known: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises `TopicMadeAnew` for a topic whose id is not the one noted. No id matches any id."""
    for topic, was in known.items():
        now = found.get(topic, "")
        if was and now and was != now:
            raise TopicMadeAnew.by_id(topic, was, now)


class PartitionsChanged(Terminal):
    """A topic has another number of partitions than when the worker began. Terminal: keys belong elsewhere now."""


def require_counts(known: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raises `PartitionsChanged` for a topic that has not as many partitions as are known. One that is gone has none
    to be compared."""
    for topic, was in known.items():
        now = found.get(topic, was)
        if now != was:
            raise PartitionsChanged(
                f"{topic} has {now} partitions, and this worker goes by {was}: keys belong to other partitions now, so "
                f"nothing more is read. {count_remedy({topic: now}, was)}"
            )


class Note(NamedTuple):
    """What a group commits with an offset: it outlives the worker, and where a commit outlives its topic, tells so."""

    topic_id: str = ""
    lost: int = 0
    """Records of the partition that were deleted before the group read them."""

    def text(self) -> str:
        """As it is committed."""
        said = {_ID: self.topic_id, _LOST: str(self.lost or "")}
        return ";".join(f"{name}={value}" for name, value in said.items() if value)


def note_of(text: str | None) -> Note:
    """The note read. Other programs may commit what they like: that says nothing."""
    said = dict(part.split("=", 1) for part in (text or "").split(";") if "=" in part)
    lost = said.get(_LOST, "")
    return Note(said.get(_ID, ""), int(lost) if lost.isascii() and lost.isdigit() else 0)
