"""Embrace's rules for session parts and user sessions, written down from its SDKs, against what we make of their
envelopes; and that order, copies, batches and snapshots have no say."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.fold import sessions
from pipeline.domain.policy import HOUR_MS, MINUTE_MS, Policy
from pipeline.formats import native
from tests.support.embrace import APP, DEVICE, envelope, events_of, folded, log, native_events, part, span

INACTIVITY_MS, LONGEST_MS = 30 * MINUTE_MS, 12 * HOUR_MS
QUICK = settings(max_examples=40, deadline=None)

Part = tuple[int, str, str, str]
"""Number of its user session, its id, its state and why it ended."""


@dataclass
class Sdk:
    """An SDK of Embrace's with sessions in the background, as its documents and golden files say."""

    now_ms: int = 0
    is_cold: bool = True
    user_session: int = -1
    user_session_start_ms: int = 0
    foreground_end_ms: int | None = None
    parts: list[Part] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)

    def use(self, length_ms: int, how: str) -> None:
        """The app in front for so long, with something happening every 20 minutes."""
        until_ms = self.now_ms + length_ms
        while True:
            start_ms = self.now_ms
            self._attach(start_ms)
            name = f"p{len(self.parts)}"
            longest_ms = self.user_session_start_ms + LONGEST_MS
            end_ms = min(until_ms, longest_ms)
            for at_ms in range(start_ms + 1, end_ms, 20 * MINUTE_MS):
                self.logs.append(
                    log(at_ms, f"l{at_ms}", "sys.log", emb__session_part_id=name, emb__state="foreground")
                )
            rolls = end_ms < until_ms
            self._end(name, start_ms, end_ms, "rolls" if rolls else how)
            self.now_ms = end_ms
            if not rolls:
                return

    def _end(self, name: str, start_ms: int, end_ms: int, how: str) -> None:
        cold = {"emb__cold_start": "true" if self.is_cold else "false"}
        self.is_cold = how == "crash"
        self.foreground_end_ms = end_ms
        said: dict[str, str] = {}
        if how == "manual":
            said = {"emb__session_end_type": "manual", "emb__user_session_termination_reason": "manual"}
        elif how == "rolls":
            said = {"emb__user_session_termination_reason": "max_duration_reached"}
        elif how == "crash":
            said = {"emb__crash_id": f"c{name}"}
            self.logs.append(log(end_ms, f"c{name}", "sys.android.crash", emb__session_part_id=name))
        self.parts.append((self.user_session, name, "foreground", how))
        self.spans.append(part(start_ms, end_ms, name, **cold, **said))
        if how == "manual":
            self.user_session_start_ms = -LONGEST_MS

    def leave(self, length_ms: int, *, is_captured: bool) -> None:
        """The app in the background; what comes after is a part of its own, from the same millisecond on."""
        start_ms = self.now_ms
        self.now_ms += length_ms
        if not is_captured or self.is_cold:
            return
        ends = [self.now_ms]
        if length_ms > INACTIVITY_MS:
            ends.insert(0, start_ms + INACTIVITY_MS + 1)
        for end_ms in ends:
            self._attach(start_ms, is_seen=False)
            name = f"p{len(self.parts)}"
            self.parts.append((self.user_session, name, "background", ""))
            self.spans.append(
                part(start_ms, end_ms, name, emb__state="background", emb__session_end_type="bkgnd_state")
            )
            start_ms = end_ms

    def _attach(self, start_ms: int, *, is_seen: bool = True) -> None:
        """The user session of a part that starts: the present one, or another."""
        is_over = (
            self.user_session < 0
            or start_ms >= self.user_session_start_ms + LONGEST_MS
            or (self.foreground_end_ms is not None and start_ms >= self.foreground_end_ms + INACTIVITY_MS)
        )
        if is_over:
            self.user_session, self.user_session_start_ms = len(self.parts), start_ms
        if is_over and not is_seen:
            self.foreground_end_ms = -INACTIVITY_MS


uses = st.tuples(
    st.integers(2_000, 3 * HOUR_MS) | st.integers(11 * HOUR_MS, 14 * HOUR_MS),
    st.sampled_from(["background", "background", "manual", "crash"]),
    # At 30 minutes to the millisecond after a crash, Embrace's user session is over and ours is not.
    # Between the two a foreground would join the background's own user session, which Embrace ends.
    st.integers(2_000, INACTIVITY_MS - 1) | st.integers(3 * INACTIVITY_MS, 2 * 24 * HOUR_MS),
)
lives = st.tuples(st.lists(uses, min_size=1, max_size=6), st.booleans())


def lived(life: tuple[list[tuple[int, str, int]], bool]) -> Sdk:
    some, is_captured = life
    sdk = Sdk()
    for length_ms, how, away_ms in some:
        sdk.use(length_ms, how)
        # Ended by hand, the app stays in front, and its next part begins at once.
        if how != "manual":
            sdk.leave(away_ms, is_captured=is_captured)
    return sdk


def sent(sdk: Sdk, random: Random) -> list[dict[str, Any]]:
    """Its envelopes in any order, cut anyhow, with copies in other envelopes and with snapshots of what ends later."""
    spans = [each for each in sdk.spans for _ in range(random.choice((1, 1, 2)))]
    logs = [each for each in sdk.logs for _ in range(random.choice((1, 1, 2)))]
    early = [{key: value for key, value in each.items() if key != "end_time_unix_nano"} for each in sdk.spans]
    made = []
    for whole, make in (
        (spans, lambda cut: envelope(spans=cut)),
        (logs, lambda cut: envelope(logs=cut)),
        ([each for each in early if random.random() < 0.3], lambda cut: envelope(snapshots=cut)),
    ):
        rest = random.sample(whole, len(whole))
        while rest:
            size = random.randint(1, 4)
            made.append(make(rest[:size]))
            rest = rest[size:]
    random.shuffle(made)
    return made


@QUICK
@given(lives)
def test_a_user_session_is_a_stitched_session(life: tuple[list[tuple[int, str, int]], bool]) -> None:
    sdk = lived(life)
    rows = folded([envelope([each]) for each in sdk.spans] + [envelope(logs=[each]) for each in sdk.logs])
    assert [(row["client_session_id"], row["state"]) for row in rows] == [
        (name, state) for _, name, state, _ in sdk.parts
    ]
    together = [number for number, *_ in sdk.parts]
    assert [row["stitched"] for row in rows] == [
        list(dict.fromkeys(together)).index(each) for each in together
    ]
    for row, (_, name, state, how) in zip(rows, sdk.parts, strict=True):
        expected = {"rolls": ("max_duration", "superseded")}.get(how, (how,))
        assert state == "background" or row["end_reason"] in expected, (name, row)
        assert row["crash_count"] == (how == "crash")


@pytest.mark.slow
@QUICK
@given(lives, st.randoms(use_true_random=False))
def test_order_copies_batches_and_snapshots_have_no_say(
    life: tuple[list[tuple[int, str, int]], bool], random: Random
) -> None:
    sdk = lived(life)
    in_order = [envelope([each]) for each in sdk.spans] + [envelope(logs=[each]) for each in sdk.logs]
    documents = sent(sdk, random)
    assert by_id(native_events(in_order)) == by_id(native_events(documents))
    one, other = (sessions(APP, DEVICE, events_of(some), Policy()) for some in (in_order, documents))
    assert one == other


def by_id(events: list[native.NativeEvent]) -> dict[str, native.NativeEvent]:
    found: dict[str, native.NativeEvent] = {}
    for each in events:
        assert found.setdefault(each.id, each) == each, "one id, one fact"
    return found


values = st.text(max_size=8) | st.sampled_from(
    ["true", "false", "null", "foreground", "background", "manual", "1,2"]
)
keys = st.text(max_size=6) | st.sampled_from(
    ["emb.type", "emb.state", "emb.cold_start", "emb.crash_id", "emb.terminated", "passive", "fatal", "app.state",
     "log.record.uid", "view.name", "reason", "timestamp", "emb.payload", "http.response.status_code"]
)  # fmt: skip
types = st.sampled_from(
    [
        "ux.session",
        "ux.view",
        "ux.tap",
        "perf.network_request",
        "perf",
        "state",
        "sys.log",
        "sys.exit",
        "sys.ios.crash",
    ]
)


@pytest.mark.parametrize("is_log", [True, False])
@QUICK
@given(
    st.lists(st.tuples(st.dictionaries(keys, values, max_size=5), types), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_whatever_the_attributes_say_the_same_comes_of_it_in_any_batch(
    is_log: bool, told: list[tuple[dict[str, str], str]], random: Random
) -> None:
    made = []
    for index, (attributes, type_) in enumerate(told):
        one_span = span("s", index, index + 9, id=f"s{index}", emb__type=type_)
        one = log(index, f"u{index}", type_) if is_log else one_span
        one["attributes"] += [
            {"key": key, "value": value} for key, value in attributes.items() if key != "timestamp"
        ]
        made.append(one)
    field_ = "logs" if is_log else "spans"
    together = native_events([envelope(**{field_: made})])
    alone = [envelope(**{field_: [each]}) for each in made] * 2
    random.shuffle(alone)
    if len({each.id for each in together}) == len(together):
        assert by_id(together) == by_id(native_events(alone))
