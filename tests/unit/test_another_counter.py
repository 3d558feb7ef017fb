"""A counter more takes its name in `domain.event`: states from before it, rows and tables follow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipeline.domain.event import COUNTERS, Kind, make_event
from pipeline.domain.policy import Policy
from pipeline.state.codec import state_codec
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState

AT_MS = 1_800_000_000_000
# A program with one more, which goes on with the state that this one wrote.
NEWER = """
import sys
from pipeline.domain import event
event.COUNTERS += ("swipe_count",)
from pipeline.domain.policy import Policy
from pipeline.state.codec import state_codec
from pipeline.state.device import Counts, apply
from pipeline.storage.columns import EVENT_COLUMNS, SESSION_COLUMNS
from pipeline.storage.rows import session_row
from pipeline.storage.stored_session import SELECT, Shared, facts_of

state = state_codec.decode(bytes.fromhex(sys.argv[1]))
swipe = event.make_event({at}, event.Kind.ACTIVITY, "new", counters=1 << {bit} | 1)
apply(state, [(2, {at}, [swipe])], Policy(), Counts())
version = int(sys.argv[2])
again = state_codec.decode(state_codec.encoder(version)(state))
assert again == state and again.head.open.counters == [2, *[0] * {rest}, 1], again.head.open
row = session_row("a", "d", again.head.open, status="open", revision=1, is_final=False, arrived_at_ms={at},
                  partition=0, offset=2)
assert ("swipe_count", "UInt32") in SESSION_COLUMNS and ("counters", "UInt32") in EVENT_COLUMNS
assert "swipe_count" in SELECT and facts_of(row, Shared())[1]["swipe_count"] == 1
print(row.decode())
"""


@pytest.mark.parametrize("version", sorted(state_codec.ENCODERS))
def test_a_state_from_before_a_counter_has_counted_none(version: int) -> None:
    state = DeviceState()
    crash = make_event(AT_MS, Kind.ACTIVITY, "old", counters=1)
    apply(state, [(1, AT_MS, [crash])], Policy(), Counts())
    script = NEWER.format(at=AT_MS + 1, bit=len(COUNTERS), rest=len(COUNTERS) - 1)
    value = state_codec.encoder(version)(state).hex()
    found = subprocess.run(
        [sys.executable, "-c", script, value, str(version)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    row = json.loads(found.stdout)
    assert (row["crash_count"], row["swipe_count"], row["event_count"]) == (2, 1, 2)
