"""The definition of a session as examples (`tests/support/fold_examples.py`), for the oracle and for the fold."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.domain.fold import sessions
from tests.support.fold_examples import APP, DEVICE, EXAMPLES, Example, by_fold, by_oracle, session_id
from tests.support.oracle import RULES, oracle_fold, oracle_session_id


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_by_oracle(example: Example) -> None:
    assert by_oracle(example.events, example.policy, example.quiet) == example.expected


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_by_fold(example: Example) -> None:
    expected = [{name: row[name] for name in row if name != "event_ids"} for row in example.expected]
    assert by_fold(example.events, example.policy, example.quiet) == expected


# From coreutils, then version and variant set by hand: printf 'org.example.app\0device-1\0e1' | b2sum -l 128
SESSION_IDS = [
    ("e1", "7ce0da11-226e-8610-8ced-9e0c4bd29b21"),  # 7ce0da11226e06108ced9e0c4bd29b21
    ("e4", "0144c6ad-903e-8133-a177-06ee89f6d304"),  # 0144c6ad903ee133617706ee89f6d304
    ("ü", "327c15b3-271c-8221-a2ed-c0bf2d369566"),  # 327c15b3271c122162edc0bf2d369566
]


@pytest.mark.parametrize(("first_event_id", "expected"), SESSION_IDS)
def test_session_id(first_event_id: str, expected: str) -> None:
    assert oracle_session_id(APP, DEVICE, first_event_id) == expected
    assert str(session_id(first_event_id)) == expected


def test_each_rule_has_an_example() -> None:
    fired = Counter[str]()
    for example in EXAMPLES:
        fired.update(oracle_fold(example.events, example.policy).fired)
    assert [rule for rule in RULES if not fired[rule]] == []


def test_examples_have_names_of_their_own() -> None:
    assert len({example.name for example in EXAMPLES}) == len(EXAMPLES)


def test_unless_asked_otherwise_the_open_session_is_reported_as_quiet() -> None:
    (example, *_) = [each for each in EXAMPLES if not each.quiet]
    assert [session.is_open for session in sessions(APP, DEVICE, example.events, example.policy)][-1] is False
    assert sessions(APP, DEVICE, example.events, example.policy, quiet=False)[-1].is_open
