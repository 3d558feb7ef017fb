"""Golden files of Embrace's Android SDK through decoder and fold: a session part of theirs is a session of ours, and a
user session a stitched session; where not, `schemas/mapping/embrace.md` says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.domain.policy import HOUR_MS, Policy
from tests.support.embrace import envelope, folded, golden, members

HANDS_OFF = replace(Policy(), inactivity_timeout_ms=48 * HOUR_MS)
"""Embrace never ends a part in the foreground for silence. Its golden files have no events in between."""


def alone(*spans: dict[str, object]) -> list[dict[str, object]]:
    """Each span in an envelope of its own, as the SDK sends a part when it is over."""
    return [envelope([span]) for span in spans]


def test_a_part_is_a_session() -> None:
    (session,) = folded(alone(golden("user_session_basic_span", "p1")))
    assert session["state"] == "foreground" and session["cold_start"] is True
    assert (session["client_session_id"], session["end_reason"]) == ("p1", "background")
    assert (session["start"], session["end"]) == (0, 40_130)


def test_two_parts_close_together_are_one_user_session() -> None:
    rows = folded(alone(golden("user_session_part_1", "p1"), golden("user_session_part_2", "p2")))
    assert members(rows) == [(0, "p1", "foreground", "background"), (0, "p2", "foreground", "background")]
    assert [row["stitched_index"] for row in rows] == [1, 2]
    assert [row["cold_start"] for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("policy", "timed_out"),
    [(Policy(), ("inactivity", "inactivity")), (HANDS_OFF, ("superseded", "foreground"))],
)
def test_the_background_ends_a_user_session_after_its_timeout(
    policy: Policy, timed_out: tuple[str, str]
) -> None:
    """What ends a part in the background is a timer of the SDK; here it is silence or, if that is long, the next."""
    user_sessions = {1: "us1", 2: "us1", 3: "us1", 4: "us2", 5: "us3"}
    parts = [
        golden(f"user_session_bg_timeout_{number}", f"p{number}", user_session)
        for number, user_session in user_sessions.items()
    ]
    assert members(folded(alone(*parts), policy)) == [
        (0, "p1", "background", "foreground"),
        (0, "p2", "foreground", "background"),
        (0, "p3", "background", timed_out[0]),
        (1, "p4", "background", timed_out[1]),
        (2, "p5", "foreground", "background"),
    ]


def test_a_user_session_that_is_ended_by_hand() -> None:
    parts = [golden("user_session_manual_end_1", "p1"), golden("user_session_manual_end_2", "p2", "us2")]
    rows = folded(alone(*parts))
    assert members(rows) == [(0, "p1", "foreground", "manual"), (1, "p2", "foreground", "background")]


def test_a_user_session_of_its_longest() -> None:
    parts = [golden("user_session_max_duration_1", "p1"), golden("user_session_max_duration_2", "p2", "us2")]
    assert members(folded(alone(*parts), HANDS_OFF)) == [
        (0, "p1", "foreground", "max_duration"),
        (1, "p2", "foreground", "background"),
    ]
    # By default silence of 30 minutes ends a session first. The members stay.
    assert members(folded(alone(*parts))) == [
        (0, "p1", "foreground", "inactivity"),
        (1, "p2", "foreground", "background"),
    ]


def test_timeouts_of_ones_own_are_a_policy() -> None:
    part = golden("user_session_custom_timeouts", "p1")
    again = golden("user_session_part_2", "p2", "us2")
    for name in ("start_time_unix_nano", "end_time_unix_nano"):
        again[name] = int(again[name]) + 900 * 1_000_000_000
    ten_minutes = replace(Policy(), stitch_gap_ms=600_000, stitch_max_duration_ms=2 * HOUR_MS)
    assert [row["stitched"] for row in folded(alone(part, again), ten_minutes)] == [0, 1]
    assert [row["stitched"] for row in folded(alone(part, again))] == [0, 0]


@pytest.mark.parametrize("log_first", [True, False])
def test_a_crash_is_one_though_span_and_log_both_say_it(log_first: bool) -> None:
    log = golden("user_session_jvm_crash_log", "p1", log__record__uid="crash-1")
    part = golden("user_session_jvm_crash_span", "p1", emb__crash_id="crash-1")
    sent = [envelope(logs=[log]), envelope([part])]
    (session,) = folded(sent if log_first else sent[::-1])
    assert (session["end_reason"], session["exit_reason"], session["crash_count"]) == ("crash", "crash", 1)
    # Either of them is enough to know how it ended.
    (session,) = folded([envelope([part])])
    assert (session["end_reason"], session["crash_count"]) == ("crash", 0)
    terminated = golden("user_session_basic_span", "p1", emb__terminated="true", emb__clean_exit="false")
    (session,) = folded([envelope([terminated]), envelope(logs=[log])])
    assert (session["end_reason"], session["crash_count"]) == ("crash", 1)


def test_a_native_crash_that_the_next_process_sends() -> None:
    part = golden("user_session_basic_span", "p1", emb__terminated="true", emb__clean_exit="false")
    log = golden("user_session_ndk_crash_log", "p1", log__record__uid="crash-1")
    later = golden("user_session_part_2", "p2", emb__cold_start="true")
    rows = folded([envelope([part]), envelope([later]), envelope(logs=[log])])
    assert [row["end_reason"] for row in rows] == ["crash", "background"]
    assert [row["crash_count"] for row in rows] == [1, 0]


@pytest.mark.parametrize("name", ["user_session_aei_log_active", "user_session_aei_log_no_session"])
def test_the_systems_record_of_an_exit_is_of_the_process_that_ended(name: str) -> None:
    dead = "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d"
    part = golden("user_session_basic_span", dead, emb__terminated="true", emb__clean_exit="false")
    exit_ms = int(part["end_time_unix_nano"]) // 1_000_000
    later = golden("user_session_part_2", "p2", emb__cold_start="true")
    for name_ns in ("start_time_unix_nano", "end_time_unix_nano"):
        later[name_ns] = int(later[name_ns]) + 60 * 1_000_000_000
    log = golden(name, "p2", timestamp=str(exit_ms), log__record__uid="u1")
    log["time_unix_nano"] = int(later["start_time_unix_nano"]) + 5_000_000_000
    again = golden(name, "p2", timestamp=str(exit_ms), log__record__uid="u2")
    again["time_unix_nano"] = log["time_unix_nano"]
    rows = folded([envelope([part]), envelope(logs=[log]), envelope([later]), envelope(logs=[again])])
    assert [(row["end_reason"], row["exit_reason"]) for row in rows] == [("anr", "anr"), ("background", "")]
    assert [row["event_count"] for row in rows][1] == 3


def test_a_log_belongs_to_the_part_that_it_names() -> None:
    part = golden("user_session_basic_span", "p1")
    log = golden("user_session_basic_log", "p1", log__record__uid="u1")
    (session,) = folded([envelope([part]), envelope(logs=[log])])
    assert session["end_reason"] == "background" and session["log_error_count"] == 0


def test_a_log_of_the_background_opens_no_session_in_the_foreground() -> None:
    log = golden("log_without_user_session", "p1", log__record__uid="u1")
    (session,) = folded([envelope(logs=[log])])
    assert session["state"] == "background"
