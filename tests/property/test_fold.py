"""The fold is the definition: it agrees with an oracle that shares no code with it, and keeps what is promised."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.fold import sessions
from tests.property.__main__ import the_history
from tests.support.oracle import RULES, oracle_fold, oracle_sessions
from tests.support.promises import broken_promise, told
from tests.support.session_dicts import session_dict, without_events
from tests.support.strategies import Case, DeliveredCase, delivered_cases

APP, DEVICE = "org.example.app", "device-1"
HISTORIES = 2_000


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(given_case=delivered_cases(conflicting=True), quiet=st.booleans())
def test_the_fold_agrees_with_the_oracle_and_keeps_what_is_promised(
    given_case: DeliveredCase, quiet: bool
) -> None:
    """The order of arrival and duplicates, starts, time alone, crashes."""
    case: Case = given_case.case
    folded = sessions(APP, DEVICE, case.events, case.policy, quiet=quiet)
    expected = oracle_sessions(APP, DEVICE, case.events, case.policy, quiet=quiet)
    assert [session_dict(APP, DEVICE, s) for s in folded] == [without_events(row) for row in expected]
    assert broken_promise(case.policy, given_case.delivery.arrivals) == ""


def test_random_histories() -> None:
    """The beginning of `python -m tests.property --seed 1`."""
    fired = Counter[str]()
    for number in range(HISTORIES):
        one = the_history(1, number)
        fold = oracle_fold(one.arrivals, one.policy)
        fired.update(fold.fired)
        assert broken_promise(one.policy, one.arrivals, fold) == "", told(one.arrivals)
    assert [rule for rule in RULES if not fired[rule]] == []
