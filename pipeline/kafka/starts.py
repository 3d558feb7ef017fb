"""Where reading a partition begins: what of a group's commits counts, and what the log still has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipeline.kafka.topic_identity import Note
from pipeline.topics import TP

if TYPE_CHECKING:
    from pipeline.kafka.admin import LogBounds

logger = logging.getLogger(__name__)


class StartOffset(NamedTuple):
    """Where to begin."""

    offset: int
    lost: int = 0
    """Records that were deleted before they were read."""


def of_these_topics(
    committed: Mapping[TP, tuple[int, Note]], ids: Mapping[str, str]
) -> dict[TP, tuple[int, Note]]:
    """The commits that count, given the present ids of the topics.

    A commit may outlive its topic, or come late from a worker that read the one before.
    """
    return {
        tp: (offset, note)
        for tp, (offset, note) in committed.items()
        if not note.topic_id or ids.get(tp.topic, note.topic_id) == note.topic_id
    }


def start_of(tp: TP, wanted: int | None, bounds: LogBounds, reached: int = -1) -> StartOffset:
    """Where to begin, as near to what is wanted as the log has it.

    `reached` is the last offset that is in the state, below 0 if none is: commits may be forgotten before states are.
    """
    if wanted is None:
        if reached < 0 or reached + 1 >= bounds.begin:
            return StartOffset(bounds.begin)
        wanted = reached + 1
    if bounds.begin <= wanted <= bounds.end:
        return StartOffset(wanted)
    lost = max(0, bounds.begin - wanted)
    logger.error(
        "%s[%d]: reading was to go on at offset %d, but the log has only %d to %d: %s. Reading it from its beginning.",
        tp.topic, tp.partition, wanted, bounds.begin, bounds.end,
        f"{lost} records were deleted before they were read" if lost
        else "the topic was made anew, or its broker lost data",
    )  # fmt: skip
    return StartOffset(bounds.begin, lost)
