"""What pages and the API tell of one group of crashes, in as few questions as can be."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.dashboard.paths import Step, tree
from pipeline.dashboard.reader import Reader, Row
from pipeline.query import crash_group
from pipeline.query.crash_group import ToldGroup
from pipeline.query.crashes import Span
from pipeline.query.statement import Statement


class OneGroup(NamedTuple):
    """A group, and the event of it that came last."""

    told: ToldGroup
    whole: Row
    """The numbers of all of it."""
    latest: Row | None
    """`event_id`, `time`, `attributes` and `resource`; None where its event went meanwhile."""


async def one_group(reader: Reader, span: Span, group: str, where: Statement | None) -> OneGroup | None:
    """A group, of the sessions of a range that meet a condition; None where none has any. Raises `NotAnswered`."""
    told = crash_group.told(await reader.rows(crash_group.whole(span, group, where=where)))
    if told is None:
        return None
    latest = await reader.first(crash_group.latest(span[0], told.last_event))
    return OneGroup(told, next(row for row in told.parts if row["part"] == "all"), latest)


async def path_before(reader: Reader, span: Span, group: str, where: Statement | None) -> Step:
    """The paths that led to the newest of a group, as a tree; its root has no session where nothing of the group came.

    It takes the events of those sessions, which are more to read than all else about a group. Raises `NotAnswered`.
    """
    sessions = await reader.rows(crash_group.newest(span, group, where=where))
    found = await reader.rows(crash_group.paths(span[0], sessions)) if sessions else []
    return tree([(row["session_id"], row["steps"]) for row in found])
