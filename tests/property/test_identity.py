"""A resource made of parsed facts is the one that is read from their JSON, whether it is remembered or not."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.identity import canonical_resource, resource_of_facts

_SINGLE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
_VALUES = st.recursive(
    _SINGLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), _VALUES, max_size=6), st.booleans())
def test_facts_are_the_resource_that_is_read_from_their_json(facts: dict[str, Any], is_long: bool) -> None:
    told = facts | ({"long": "é" * 5_000} if is_long else {})
    assert resource_of_facts(told) == canonical_resource(msgspec.json.encode(told))
