"""Alert rules: the file, the states, and what is told of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain import alert_messages
from pipeline.domain.alerts import (
    FOLLOW_UPS_MS,
    KNOWN_FOR_MS,
    Bound,
    Judgement,
    Reading,
    Stand,
    State,
    advance,
    compared,
    due_times,
    fail,
    follow_ups_due,
    message_id,
    pause_ms,
    verdict,
)
from pipeline.query.alerts.rules import InvalidAlerts, read_rules

RULES = """
version = 1
settle = "30s"
dashboard_url = "https://sessions.example.org/"

[channels.team]
kind = "slack"
url_file = "/run/secrets/slack"

[channels.hook]
kind = "webhook"
url = "https://hooks.example.org/alerts"
secret_file = "/run/secrets/hook"

[[rules]]
name = "crash-free"
app = "org.example.shop"
metric = "crash_free_sessions"
filter = 'app.version >= "2.0"'
by = "app_version"
window = "1d"
every = "15m"
delay = "5m"
warning = { below = 0.99 }
error = { below = 0.98 }
min_sessions = 100
min_users = 10
times = 2
channels = ["team", "hook"]
summary = "See the runbook."

[[rules]]
name = "traffic"
app = "org.example.shop"
metric = "sessions"
error = { below = 0.5, above = 3 }
compare = "ratio"
no_data = "tell"
"""
SHARE = Judgement(Bound(below=0.99), Bound(below=0.98), min_sessions=10)
MINUTE = 60_000


def test_a_file_is_read() -> None:
    found = read_rules(RULES)
    crash_free, traffic = found.rules
    assert (found.settle_ms, found.dashboard_url) == (30_000, "https://sessions.example.org")
    assert found.channels["hook"].secret_file == "/run/secrets/hook"
    assert crash_free.judgement == Judgement(
        Bound(below=0.99), Bound(below=0.98), min_sessions=100, min_users=10, times=2
    )
    assert (crash_free.window_ms, crash_free.every_ms, crash_free.delay_ms) == (86_400_000, 900_000, 300_000)
    assert crash_free.channels == ("team", "hook") and crash_free.by == "app_version"
    assert traffic.judgement == Judgement(None, Bound(0.5, 3), "ratio", min_sessions=0, tells_no_data=True)
    assert (traffic.window_ms, traffic.every_ms) == (3_600_000, 900_000)
    assert crash_free.definition != traffic.definition == read_rules(RULES).rules[1].definition


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1", "version = 2", "version has to be 1"),
        ("version = 1", "version = ", "not TOML"),
        ('settle = "30s"', 'settle = "1s"', "settle has to be a duration"),
        ('settle = "30s"', 'sttle = "30s"', "'sttle' is not known"),
        ('kind = "slack"', 'kind = "pager"', "one of webhook, slack"),
        ('url_file = "/run/secrets/slack"', "", "either url or url_file"),
        ('url = "https://hooks.example.org/alerts"', 'url = "ftp://x"', "http:// or https://"),
        ('kind = "webhook"', 'kind = "slack"', "only for a webhook"),
        ('name = "traffic"', 'name = "crash-free"', "two rules have the name"),
        ('name = "traffic"', 'name = ""', "rule 2: name"),
        ('name = "traffic"\napp = "org.example.shop"', 'name = "traffic"', "app has to be a text"),
        ('metric = "sessions"', 'metric = "adoption"', 'no metric "adoption"'),
        ('app.version >= "2.0"', 'app.version >= ', "filter: "),
        ('app.version >= "2.0"', "session.started_at >= -7d", "use window"),
        ('by = "app_version"', 'by = "user_id"', 'no dimension to split by "user_id"; '),
        ('every = "15m"', 'every = "7m"', "a part of a day"),
        ('window = "1d"', 'window = "30d"', "window has to be a duration"),
        ("warning = { below = 0.99 }", "warning = { }", "below, above or both"),
        ("warning = { below = 0.99 }", "warning = { below = true }", "numbers"),
        ("warning = { below = 0.99 }", "warning = { under = 1 }", "'under' is not known"),
        ("error = { below = 0.5, above = 3 }", "", "give a bound"),
        ('compare = "ratio"', 'compare = "week_before"', "difference or ratio"),
        ('no_data = "tell"', 'no_data = "shout"', "quiet or tell"),
        ("min_sessions = 100", "min_sessions = -1", "a whole number"),
        ("times = 2", "times = 2.5", "a whole number"),
        ('channels = ["team", "hook"]', 'channels = ["hook", "page"]', "channels has to be a list of team, hook"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said(old: str, new: str, said: str) -> None:
    assert RULES.count(old) >= 1
    with pytest.raises(InvalidAlerts, match=said):
        read_rules(RULES.replace(old, new, 1))


def share(value: float | None, sessions: int = 100) -> Reading:
    return Reading(value, None, None, sessions, 10)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (share(1.0), State.NORMAL),
        (share(0.99), State.NORMAL),
        (share(0.985), State.WARNING),
        (share(0.98), State.WARNING),
        (share(0.5), State.ERROR),
        (share(0.5, sessions=9), State.NO_DATA),
        (share(None), State.NO_DATA),
    ],
)
def test_a_verdict(reading: Reading, expected: State) -> None:
    assert verdict(SHARE, reading) is expected
    with_users = replace(SHARE, min_users=11)
    assert verdict(with_users, reading) is State.NO_DATA


def test_a_week_before_counts_only_where_it_says_something() -> None:
    ratio = Judgement(None, Bound(below=0.5), "ratio", min_sessions=10)
    seen = Reading(40.0, None, None, 40, 5, before=100.0, sessions_before=100)
    assert compared(ratio, seen) == 0.4 and verdict(ratio, seen) is State.ERROR
    assert compared(replace(ratio, compare="difference"), seen) == -60.0
    for nothing in (replace(seen, before=None), replace(seen, before=0.0), replace(seen, sessions_before=9)):
        assert verdict(ratio, nothing) is State.NO_DATA


def told(judgement: Judgement, verdicts: list[State], muted: list[bool]) -> tuple[list[State], list[State]]:
    """The states, and what was told, in order."""
    stand, states, said = Stand(), [], []
    for found, is_muted in zip(verdicts, muted, strict=True):
        stand, is_told = advance(stand, judgement, found, is_muted=is_muted)
        states.append(stand.state)
        if is_told:
            said.append(stand.settled)
    return states, said


N, W, E, Z, M = State.NORMAL, State.WARNING, State.ERROR, State.NO_DATA, State.MUTED


@pytest.mark.parametrize(
    ("verdicts", "muted", "states", "said", "times"),
    [
        ([N, N], [], [N, N], [], 1),
        ([E, E, N], [], [E, E, N], [E, N], 1),
        ([W, E, W, N], [], [W, E, W, N], [W, E, W, N], 1),
        ([E, N, E, E, N, N], [], [N, N, N, E, E, N], [E, N], 2),
        # Without data nobody knows that it is over.
        ([E, Z, E, Z, N], [], [E, Z, E, Z, N], [E, N], 1),
        ([Z, E], [], [Z, E], [E], 1),
        # What began while it was muted is told if it lasts, and what was over by then is not.
        ([E, E, E], [1, 1, 0], [M, M, E], [E], 1),
        ([N, E, N], [0, 1, 0], [N, M, N], [], 1),
        ([E, N, N], [0, 1, 0], [E, M, N], [E, N], 1),
        ([E, N, E], [0, 1, 0], [E, M, E], [E], 1),
    ],
)
def test_what_is_told(
    verdicts: list[State], muted: list[int], states: list[State], said: list[State], times: int
) -> None:
    judgement = replace(SHARE, times=times)
    quiet = [bool(each) for each in muted] or [False] * len(verdicts)
    assert told(judgement, verdicts, quiet) == (states, said)


def test_a_rule_that_cannot_be_evaluated_is_told_of_once_and_what_follows_is_news() -> None:
    judgement = replace(SHARE, times=2)
    stand, is_told = advance(Stand(), SHARE, E, is_muted=False)
    assert is_told and stand.told is E
    failed, is_told = fail(stand, "deleted", is_muted=False)
    assert is_told and (failed.state, failed.settled, failed.times) == (E, stand.settled, stand.times)
    assert fail(failed, "deleted", is_muted=False) == (failed, False)
    assert fail(failed, "changed", is_muted=False)[1]
    quiet, is_told = fail(stand, "deleted", is_muted=True)
    assert not is_told and quiet.state is M and fail(quiet, "deleted", is_muted=False)[1]
    for found in (N, E):
        after, is_told = advance(failed, SHARE, found, is_muted=False)
        assert is_told and (after.told, after.fault_told) == (found, "")
    # Without data people still wait to hear how it is.
    after, is_told = advance(failed, SHARE, Z, is_muted=False)
    assert not is_told and advance(after, SHARE, N, is_muted=False)[1]
    assert advance(failed, judgement, N, is_muted=False)[0].settled is E


def test_no_data_is_told_where_the_rule_wants_it() -> None:
    judgement = replace(SHARE, tells_no_data=True)
    assert told(judgement, [N, Z, Z, N], [False] * 4)[1] == [Z, N]


VERDICTS = st.sampled_from([N, W, E, Z])


@given(
    st.lists(st.tuples(VERDICTS, st.booleans()), max_size=40),
    st.integers(min_value=1, max_value=4),
    st.booleans(),
)
def test_whatever_comes_what_is_told_last_is_how_it_is(
    course: list[tuple[State, bool]], times: int, tells_no_data: bool
) -> None:
    """Against a second way of saying it: over the whole course, not step by step."""
    judgement = replace(SHARE, times=times, tells_no_data=tells_no_data)
    states, said = told(judgement, [found for found, _ in course], [muted for _, muted in course])
    expected, settled_at = list[State](), list[State]()
    for at in range(len(course)):
        run = [found for found, _ in course[max(0, at - times + 1) : at + 1]]
        if len(run) == times and len(set(run)) == 1:
            settled_at.append(run[0])
        else:
            settled_at.append(settled_at[-1] if settled_at else N)
    for (_, muted), settled in zip(course, settled_at, strict=True):
        last = expected[-1] if expected else N
        if not muted and settled is not last and (settled is not Z or tells_no_data):
            expected.append(settled)
    assert said == expected
    assert states == [M if muted else settled for (_, muted), settled in zip(course, settled_at, strict=True)]
    assert all(one is not other for one, other in pairwise(said))


@given(
    st.integers(min_value=0, max_value=10**6),
    st.integers(min_value=0, max_value=500),
    st.sampled_from([1, 5, 15, 60]),
)
def test_missed_evaluations_are_made_in_order_and_none_is_made_twice(
    first: int, later: int, every: int
) -> None:
    """Whether somebody looked at each minute, or once at the end."""
    start, every_ms = KNOWN_FOR_MS + first * MINUTE + 17, every * MINUTE
    last = due_times(None, every_ms, start)[-1]
    made = [last]
    for minute in range(1, later + 1):
        made += due_times(made[-1], every_ms, start + minute * MINUTE)
    assert made[1:] == list(due_times(last, every_ms, start + later * MINUTE))
    assert all(at % every_ms == 0 for at in made) and made == sorted(set(made))


def test_what_can_no_longer_be_known_is_not_evaluated() -> None:
    now = 10 * KNOWN_FOR_MS
    found = due_times(0, 3_600_000, now)
    assert now - KNOWN_FOR_MS <= found[0] < now - KNOWN_FOR_MS + 3_600_000 and found[-1] == now
    assert len(due_times(now, 3_600_000, now + 3_599_999)) == 0


def test_what_is_known_later_is_asked_at_set_times() -> None:
    hour = 3_600_000
    assert follow_ups_due(0, 0, hour - 1) == [] and follow_ups_due(0, 0, hour) == [hour]
    assert follow_ups_due(5, hour + 5, 10**12) == [5 + after for after in FOLLOW_UPS_MS[1:]]


def test_pauses_grow_up_to_ten_minutes() -> None:
    assert [pause_ms(n) for n in (1, 2, 3, 7, 8, 1_000)] == [5_000, 10_000, 20_000, 320_000, 600_000, 600_000]


def test_an_id_is_that_of_the_evaluation() -> None:
    ids = [
        message_id("a", None, 1, 1),
        message_id("a", "", 1, 1),
        message_id("a", None, 2, 2),
        message_id("b", None, 1, 1),
    ]
    assert len({*ids, message_id("a", None, 1, 2)}) == 5 and ids[0] == message_id("a", None, 1, 1)


MESSAGE: dict[str, Any] = {
    "version": 1, "id": "id-1", "kind": "alert", "app_id": "shop", "group": "2.0 <b>&", "evaluated_at_ms": 1_000,
    "known_at_ms": 1_000, "state": "error", "told_before": "warning", "verdict": "error", "link": "https://d/?app=shop",
    "window": {"from": "a", "until": "b"},
    "rule": {
        "name": "crash-free", "metric": "crash_free_sessions", "label": "Crash-free sessions", "unit": "share",
        "by": "app_version", "filter": "", "summary": "See the runbook.", "compare": "",
    },
    "saw": {"value": 0.975, "sessions": 400, "before": 0.99},
}  # fmt: skip
FOLLOW_UP = MESSAGE | {
    "kind": "follow_up", "now": {"value": 0.995, "sessions": 420}, "saw_at": "then", "known_at": "later",
    "verdict_then": "error", "verdict": "normal", "known_at_ms": 5_000,
}  # fmt: skip


def test_bodies_say_what_was_seen() -> None:
    line = (
        "[Error] crash-free: Crash-free sessions of shop (app_version 2.0 <b>&) is 97.500%, 99.000% a week before"
        " (400 sessions from a to b)"
    )
    assert alert_messages.headline(MESSAGE) == line
    assert json.loads(alert_messages.body("webhook", MESSAGE)) == MESSAGE | {"text": line}
    slack = json.loads(alert_messages.body("slack", MESSAGE))
    assert slack["text"] == line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert "<https://d/?app=shop|Sessions>" in slack["blocks"][0]["text"]["text"]
    assert (
        alert_messages.body("apprise", MESSAGE).decode() == f"{line}\nSee the runbook.\nhttps://d/?app=shop"
    )
    later = alert_messages.headline(FOLLOW_UP)
    assert (
        "was 97.500% as known at then (400 sessions, error), and is 99.500% as known at later (420" in later
    )


def test_a_fault_and_its_end_are_said() -> None:
    fault = alert_messages.headline(MESSAGE | {"fault": "The cohort was deleted.", "fault_before": ""})
    assert fault == "[Error] crash-free: it cannot be evaluated. The cohort was deleted."
    over = MESSAGE | {"fault": "", "fault_before": "The cohort was deleted.", "state": "normal"}
    assert alert_messages.headline(over).endswith("It can be evaluated again.")


def test_an_alertmanager_is_told_what_began_and_what_ended() -> None:
    over, begun = json.loads(alert_messages.body("alertmanager", MESSAGE))
    assert over["labels"] == {
        "alertname": "crash-free", "app_id": "shop", "metric": "crash_free_sessions", "group": "2.0 <b>&",
        "severity": "warning",
    }  # fmt: skip
    assert over["startsAt"] == over["endsAt"] == begun["startsAt"] == "1970-01-01T00:00:01.000Z"
    assert begun["labels"] == over["labels"] | {"severity": "error"} and begun["endsAt"].startswith("1971")
    normal = MESSAGE | {"state": "normal", "told_before": "error"}
    (ended,) = json.loads(alert_messages.body("alertmanager", normal))
    assert ended["labels"] == begun["labels"] and ended["endsAt"] == ended["startsAt"]
    (followed,) = json.loads(alert_messages.body("alertmanager", FOLLOW_UP))
    assert followed["labels"]["severity"] == "follow_up"


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """By the words of their specification: HMAC-SHA256 over id, time and body, with points between."""
    key = b"a secret of bytes"
    secret = "whsec_" + base64.b64encode(key).decode()
    found = alert_messages.signature(secret, "msg_1", 1_700_000_000, b'{"a":1}')
    digest = hmac.new(key, b'msg_1.1700000000.{"a":1}', hashlib.sha256).digest()
    assert found["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert found["webhook-timestamp"] == "1700000000"
    assert (
        alert_messages.headers("msg_1")["idempotency-key"]
        == alert_messages.headers("msg_1")["webhook-id"]
        == "msg_1"
    )
    for wrong in ("", "whsec_", "whsec_?"):
        with pytest.raises(ValueError, match=r"."):
            alert_messages.secret_bytes(wrong)
