"""Whatever an envelope holds and the rules are: by every way the same is left, and nothing of what they drop."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.privacy import LEFT_OUT, Privacy, Rules, Samplings
from pipeline.formats import native
from pipeline.formats.edge import Edge
from pipeline.formats.native.events import arrivals_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.storage.dead_letter import dead_letters_of, let_in

NOW = 1_767_600_000_000
KEY = b"app/device"
SECRET = "a secret of more than thirty-two characters"
PLANTED = "pLaNtEd"
"""In every value that some rule may be about; nothing else has it."""

NAMES = (
    *LEFT_OUT,
    "user",
    "enduser",
    "email",
    "name",
    "Name",
    "token",
    "my.token",
    "user.id",
    "id",
    "url.query",
    "x",
)
BITS = (
    *(
        "jane",
        "@",
        "example.org",
        "%40",
        "203.0.113.7",
        "2001:db8::7",
        "https://",
        "/a",
        "?",
        "=",
        "#",
        " ",
        "'",
    ),
    *(
        ":",
        ",",
        "[",
        "-",
        "_",
        ".",
        "***",
        "h_0123456789abcdef0123456789abcdef",
        "é",
        "\u2003",
        "f",
        '"',
        "\\",
    ),
)
texts = st.lists(st.sampled_from(BITS), max_size=8).map("".join)
leaves = st.one_of(texts, st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False))
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(NAMES), trees, max_size=5)
hows = st.sampled_from(("keep", "drop", "hash", "mask"))
patterns = st.lists(
    st.sampled_from(("token", "*token", "x", "user.*", "n*", "id", "*", "url.*")), max_size=2
).map(tuple)
rules_of_any_kind = st.builds(
    Rules,
    keep=patterns,
    drop=patterns,
    hash=patterns,
    mask=patterns,
    user_id=st.sampled_from(("keep", "hash")),
    emails=hows,
    addresses=hows,
    queries=hows,
)
shapes = st.one_of(objects, objects, objects, trees)


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """Records, most of them sound."""
    events = [
        {"id": f"e{index}", "name": "tap", "time": NOW, "attributes": draw(shapes)}
        for index in range(draw(st.integers(1, 3)))
    ]
    tree: dict[str, Any] = {"v": 1, "app_id": "app", "device_id": "device", "events": events}
    if draw(st.booleans()):
        tree["user"] = draw(st.one_of(shapes, st.fixed_dictionaries({"id": texts, "properties": objects})))
    if draw(st.booleans()):
        tree["resource"] = draw(shapes)
    if draw(st.integers(0, 9)) == 0:
        tree["unknown"] = draw(shapes)
    value = dumped(tree)
    if draw(st.integers(0, 5)) == 0:
        for plain, escaped in ((b"tok", b"\\u0074ok"), (b"user", b"\\u0075ser"), (b"@", b"\\u0040")):
            value = value.replace(plain, escaped)
    return value


def dumped(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False).encode()


def edge(rules: Rules) -> Edge:
    return Edge(Privacy(rules), Samplings(), SECRET)


@given(values(), rules_of_any_kind)
def test_whichever_way_it_takes_the_same_is_left_of_a_record(value: bytes, rules: Rules) -> None:
    at_edge = edge(rules)
    cleaner = at_edge.cleaner_of(KEY)
    straight = native.decode(value, KEY, NOW, cleaner)
    [*arrivals], refused, _ = arrivals_of(KEY, [0, NOW, value, None], cleaner)
    if isinstance(straight, Rejected):
        assert (arrivals, refused) == ([], 1)
        return
    assert [events for _, _, events in arrivals] == [native.to_events(straight)]
    assert refused == len(straight.refused)
    once = at_edge.cleaned(KEY, value)
    twice = at_edge.cleaned(KEY, once)
    routed = native.decode(once, KEY, NOW, cleaner)
    assert not isinstance(routed, Rejected)
    assert meant(routed) == meant(straight)
    # What the rules leave says the same to whoever does not know them, and to whoever applies them again.
    assert meant(native.decode(once, KEY, NOW)) == meant(straight)
    assert meant(native.decode(twice, KEY, NOW)) == meant(straight)


def meant(read: native.Envelope | Rejected) -> Any:
    """All that is stored of it. (Of the bytes of attributes only what they say: blanks may differ.)"""
    assert not isinstance(read, Rejected)
    events = [
        (*native.to_events(read)[at], orjson.loads(each.attributes)) for at, each in enumerate(read.events)
    ]
    return read.resource, read.user, events, [(each.reason, each.event_index) for each in read.refused]


def planted(tree: Any, *, dropped: bool = False) -> Any:
    """The tree with PLANTED in each text under a name that is dropped, at any depth."""
    if isinstance(tree, dict):
        return {
            name: planted(value, dropped=dropped or name in ("token", "my.token"))
            for name, value in tree.items()
        }
    if isinstance(tree, list):
        return [planted(value, dropped=dropped) for value in tree]
    return f"{tree}{PLANTED}" if dropped and isinstance(tree, str) else tree


@given(values(), st.sampled_from((Rules(drop=("*token",)), Rules(hash=("*token",)), Rules(mask=("*token",)))))
def test_nothing_of_what_a_rule_names_is_left_in_the_bytes(value: bytes, rules: Rules) -> None:
    at_edge = edge(rules)
    value = dumped(planted(json.loads(value)))
    assert PLANTED.encode() not in at_edge.cleaned(KEY, value)
    straight = native.decode(value, KEY, NOW, at_edge.cleaner_of(KEY))
    assert PLANTED not in repr(straight)
    # Nor where it is refused, whole or cut anywhere.
    for part in (value, value[: len(value) * 2 // 3]):
        [letter] = dead_letters_of(
            "sdk-events",
            0,
            0,
            record_ms=NOW,
            key=KEY,
            value=part,
            faults=[Rejected(Reason.UNKNOWN_VERSION, "v")],
        )
        assert PLANTED.encode() not in (let_in(letter, at_edge).value or b"")


@given(texts, st.sampled_from(("drop", "hash", "mask")))
def test_what_is_found_in_a_text_is_found_once(text: str, how: str) -> None:
    rules = Rules(emails=how, addresses=how, queries=how)
    walk = edge(rules).cleaner_of(KEY)._walk
    made = walk.text(text)
    assert not isinstance(made, str) or walk.text(made) == made
