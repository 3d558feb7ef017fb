"""A body of Faro with some of its items alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.formats.faro.traces import TRACES, SpanSource
from pipeline.formats.strict_json import dumps

FaroSource = tuple[str, Any]
"""The list that an event is of, and its item; of one that comes of a span, its `SpanSource` or None."""


def cut_out(tree: Mapping[str, Any], sources: Sequence[FaroSource], indexes: Sequence[int]) -> bytes | None:
    """The body with its `meta` and these of its sources alone; None if they are all of them."""
    if len(indexes) == len(sources):
        return None
    body: dict[str, Any] = {"meta": tree.get("meta")}
    spans: dict[tuple[int, int, int], SpanSource] = {}
    for index in indexes:
        name, item = sources[index]
        if name != TRACES:
            body.setdefault(name, []).append(item)
        elif item is None:
            body[TRACES] = tree.get(TRACES)
        else:
            # A span may come to several events.
            spans[item.block, item.scope, item.record] = item
    if spans:
        body[TRACES] = _traces(spans.values())
    return dumps(body)


def _traces(spans: Iterable[SpanSource]) -> dict[str, Any]:
    blocks: dict[int, dict[int, list[Any]]] = {}
    told: dict[int, Any] = {}
    for each in spans:
        told[each.block] = each.blocks[each.block]
        blocks.setdefault(each.block, {}).setdefault(each.scope, []).append(each.span)
    return {
        "resourceSpans": [
            {
                "resource": told[block].resource,
                "scopeSpans": [
                    {"scope": told[block].scopes[scope].scope, "spans": some}
                    for scope, some in scopes.items()
                ],
            }
            for block, scopes in blocks.items()
        ]
    }
