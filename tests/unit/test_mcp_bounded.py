"""What an assistant is told fits, and never passes for the whole where it is not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.mcp.bounded import bounded
from pipeline.mcp.tools import TOOLS

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=400)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=40,
)
ANSWERS = st.fixed_dictionaries(
    {
        "items": st.lists(VALUES, max_size=30),
        "next": st.none() | st.text(min_size=1, max_size=20),
        "more": VALUES,
    }
)
MOST = 2_000


def kept_of(part: Any, whole: Any) -> bool:
    """Whether a part is what is left of a whole."""
    if isinstance(whole, str):
        return bool(part == whole or (part.endswith("…") and whole.startswith(part[:-1])))
    if isinstance(whole, list):
        return all(kept_of(one, other) for one, other in zip(part, whole, strict=False)) and len(part) <= len(
            whole
        )
    if isinstance(whole, dict):
        return all(kept_of(value, whole[name]) for name, value in part.items())
    return bool(part == whole)


@pytest.mark.slow
@settings(max_examples=40)
@given(answer=ANSWERS)
def test_it_fits_and_says_what_is_left_out(answer: dict[str, Any]) -> None:
    told = bounded(answer, MOST)
    assert len(orjson.dumps(told)) <= MOST
    if len(orjson.dumps(answer)) <= MOST:
        assert told == answer
        return
    cut = told.pop("cut")
    if not told:
        assert "Ask for less" in cut
        return
    if len(told["items"]) < len(answer["items"]):
        assert told.pop("next") is None, "it would lead past what is left out"
    assert kept_of(told, answer)
    assert "are left out" in cut and "texts cut" in cut


def test_long_texts_give_way_and_what_is_deep_ends() -> None:
    told = bounded({"items": [{"text": "x" * 9_000}] * 3}, 8_000)
    assert len(told["items"]) == 3 and all(each["text"].endswith("…") for each in told["items"])
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"before": [deep], "text": "y" * 100}
    assert len(orjson.dumps(bounded(deep, 5_000))) <= 5_000


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_each_tool_takes_what_its_endpoint_takes(tool: Any) -> None:
    known = {each.name for each in tool.endpoint.parameters}
    assert set(tool.takes) <= known and set(tool.fixed) <= known and (tool.limit is None or "limit" in known)
    required = {each.name for each in tool.endpoint.parameters if each.is_required}
    assert required <= {*tool.takes, *tool.fixed}
    assert set(tool.keeps) <= set(tool.endpoint.answer.__struct_fields__)
    schema = tool.schema()
    assert schema["additionalProperties"] is False and set(schema["required"]) == required


@pytest.mark.parametrize("id", ["../apps", "a/b", "", ".", "a?b", "a#b", "%2e", "a b", "é", "x" * 201])
def test_an_id_leads_nowhere_else(id: str) -> None:
    tool = next(tool for tool in TOOLS if tool.name == "crash_group")
    with pytest.raises(ValueError, match=r"not an id|is required"):
        tool.request({"crash_group": id})
    assert tool.request({"crash_group": "1-abc", "app": None})[0] == "/crash-groups/1-abc"
