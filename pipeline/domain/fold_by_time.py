"""The fold where versions of a policy follow one another: each event under the one that holds at its time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from pipeline.domain.event import Event
from pipeline.domain.fold import step_all
from pipeline.domain.fold_state import FoldState
from pipeline.domain.policy import DatedPolicy, Policy
from pipeline.domain.session import Session


def fold(state: FoldState, events: Sequence[Event], policy: Policy, left: list[Session]) -> None:
    """`step_all` for the next events of the order, each under the policy of its time."""
    if (
        isinstance(policy, DatedPolicy)
        and policy.before is not None
        and events
        and events[0].time_ms < policy.from_ms
    ):
        at = bisect_left(events, policy.from_ms, key=_time_of)
        fold(state, events[:at], policy.before, left)
        events = events[at:]
    step_all(state, events, policy, left)


def _time_of(event: Event) -> int:
    return event.time_ms
