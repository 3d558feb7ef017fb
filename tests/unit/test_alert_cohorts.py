"""The cohort that an alert rule names, and what a rule does once it is another one."""

from __future__ import annotations

import pytest

from pipeline.query.alerts.cohorts import watched
from pipeline.query.alerts.rules import read_rules
from pipeline.query.filters.text_form import to_text

RULE = """
version = 1
[[rules]]
name = "crash-free"
app = "org.example.shop"
metric = "crash_free_sessions"
filter = 'os.name = "Android"'
cohort = "paying"
error = { below = 0.98 }
"""
SHOP, OTHER = 'app.version = "2.0"', 'app.version = "3.0"'


@pytest.mark.parametrize(
    ("rows", "before", "said", "cohort_filter"),
    [
        ({"paying": SHOP}, None, "", SHOP),
        ({"paying": SHOP}, SHOP, "", SHOP),
        ({"payings": SHOP}, SHOP, 'no cohort "paying"; the nearest: payings', SHOP),
        ({}, None, "no cohort 'paying'", ""),
        ({"paying": "nothing = 1"}, SHOP, "cannot be used", SHOP),
        ({"paying": "session.started_at >= -7d"}, None, "use window", ""),
        ({"paying": ""}, SHOP, "no condition", SHOP),
        ({"paying": OTHER}, SHOP, f"changed from `{SHOP}` to `{OTHER}`", OTHER),
    ],
)  # fmt: skip
def test_a_cohort_that_is_not_what_it_was_is_a_fault(
    rows: dict[str, str], before: str | None, said: str, cohort_filter: str
) -> None:
    rule = read_rules(RULE).rules[0]
    found = watched(rule, [{"name": name, "filter": text} for name, text in rows.items()], before)
    assert said in found.fault and bool(said) == bool(found.fault)
    assert found.cohort_filter == cohort_filter
    if not said:
        assert to_text(found.filter) == f'{SHOP} and os.name = "Android"'
    assert rule.definition != read_rules(RULE.replace('"paying"', '"all"')).rules[0].definition
