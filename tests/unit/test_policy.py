"""The numbers of the definition, and whose they are."""

from __future__ import annotations

from pipeline.domain.event import Kind, make_event
from pipeline.domain.policy import Policies, Policy


def test_the_defaults_are_those_of_the_definition() -> None:
    assert Policy() == Policy(
        inactivity_timeout_ms=1_800_000,
        max_duration_ms=43_200_000,
        launch_grace_ms=5_000,
        exit_grace_ms=5_000,
        stitch_gap_ms=1_800_000,
        stitch_max_duration_ms=43_200_000,
        restate_horizon_ms=86_400_000,
        restate_events=2_000,
        idle_timeout_ms=1_800_000,
        flicker_grace_ms=700,
        state_ttl_ms=604_800_000,
    )


def test_an_app_has_its_own_policy_or_the_default() -> None:
    own = Policy(inactivity_timeout_ms=1)
    policies = Policies(by_app={"own": own})
    assert policies.of("own") is own
    assert policies.of("another") is policies.default


def test_kinds_of_one_millisecond_have_their_order() -> None:
    """Those of one rank go by the counter of the SDK."""
    expected = [
        Kind.ACTIVE, Kind.FOREGROUND, Kind.LAUNCH, Kind.ACTIVITY, Kind.BACKGROUND, Kind.SESSION_END,
        Kind.ANR, Kind.EXCEPTION, Kind.CRASH, Kind.EXIT, Kind.PASSIVE,
    ]  # fmt: skip
    made = [make_event(0, kind, f"{kind}", seq=20 - n) for n, kind in enumerate(Kind)]
    assert [each.kind for each in sorted(made)] == expected
