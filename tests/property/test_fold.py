"""The fold is the definition: it agrees with an oracle that shares no code with it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.fold import sessions
from tests.support.oracle import oracle_sessions
from tests.support.session_dicts import session_dict, without_events
from tests.support.strategies import Case, cases

APP, DEVICE = "org.example.app", "device-1"


@settings(max_examples=800, deadline=None)
@given(case=cases(), quiet=st.booleans())
def test_the_fold_agrees_with_the_oracle(case: Case, quiet: bool) -> None:
    folded = sessions(APP, DEVICE, case.events, case.policy, quiet=quiet)
    expected = oracle_sessions(APP, DEVICE, case.events, case.policy, quiet=quiet)
    assert [session_dict(APP, DEVICE, s) for s in folded] == [without_events(row) for row in expected]
