"""What devices sent is written as orjson writes it, and never past the end of its buffer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.formats
from pipeline.formats.limits import MAX_NESTING
from pipeline.formats.strict_json import dumps, parse

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=12),
)
TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=25,
)


@pytest.mark.slow
@settings(max_examples=400)
@given(TREES)
def test_the_bytes_are_those_of_orjson(tree: Any) -> None:
    assert dumps(tree) == orjson.dumps(tree)
    assert dumps(tree, sort_keys=True) == orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)


def test_what_orjson_does_not_know_is_written_digit_by_digit() -> None:
    digits = '{"a":[{"b":123456789012345678901234567890},"1e5",0.1000000000000000055511151231257827,1E+400]}'
    tree = json.loads(digits, parse_float=Decimal)
    assert dumps(tree).decode() == digits
    assert (
        dumps({"b": 2**70, "a": Decimal("0.10")}, sort_keys=True) == b'{"a":0.10,"b":1180591620717411303424}'
    )
    with pytest.raises(TypeError):
        dumps({"a": complex(1, 2)})


@pytest.mark.parametrize(
    "value", [1e16, -1e16, 1.5e300, 1e-7, 5e-324, 9007199254740993.0, 1e15, -0.0, 123456.0]
)
@pytest.mark.parametrize(
    "place", ["{}", "[{}]", '{{"a":{}}}', '["1e5\\\\",{},"[1e5,\\"2e5"]', '{{"a\\",3e5":[0,{}]}}']
)
def test_exponents_are_written_as_orjson_does(value: float, place: str) -> None:
    """And texts that look like them stay as they are."""
    tree = orjson.loads(place.format(repr(value)))
    assert dumps(tree) == orjson.dumps(tree)


def test_many_small_objects_are_written_faster_than_they_are_read() -> None:
    """Written one by one in Python they took five times as long as their reading, and a body a third of a second."""
    text = orjson.dumps([{"a": "yyyyyyyyyyyy", "b": [{"c": 1}, "x"]}] * 20_000)

    def took_s(what: Callable[[], object]) -> float:
        started_s = time.process_time()
        what()
        return time.process_time() - started_s

    tree = orjson.loads(text)
    assert min(took_s(lambda: dumps(tree)) for _ in range(5)) < 2 * min(
        took_s(lambda: orjson.loads(text)) for _ in range(5)
    )


@settings(max_examples=100)
@given(st.lists(st.sampled_from("[{"), min_size=1, max_size=2 * MAX_NESTING), st.booleans())
def test_depth_is_what_is_counted(kinds: list[str], is_twice: bool) -> None:
    """Of a field that stands twice both are counted, though a tree has the last alone."""
    opened = "".join(kind if kind == "[" else '{"a":' for kind in kinds)
    deep = opened + "1" + "".join("]" if kind == "[" else "}" for kind in reversed(kinds))
    padding = ',"p":[' + ",".join(["{}"] * MAX_NESTING) + "]"
    text = f'{{"x":{deep}{padding}' + (',"x":1}' if is_twice else "}")
    found = parse(text.encode(), None)
    assert isinstance(found, dict) == (len(kinds) + 1 <= MAX_NESTING)


_WRITES = """
import orjson, sys
sys.path.insert(0, sys.argv[1])
from pipeline.formats.strict_json import dumps
write = {"dumps": dumps, "orjson": orjson.dumps}[sys.argv[2]]

def chain(levels):
    tree = 1
    for _ in range(levels):
        tree = [tree]
    return tree

for count in (7, 8, 9):
    for levels in range(1, 250, 2):
        write([*[chain(250)] * count, chain(levels), chain(250)])
for count in range(1720, 1750):
    write(["x" * 300] * count + [[1]] + [1234567890123456789] * 500)
print("written")
"""


@pytest.mark.slow
def test_nothing_is_written_past_the_end_of_a_buffer() -> None:
    """In a process that looks at what stands behind each block of memory. With `orjson` in place of `dumps` it is
    ended, as of orjson 3.10 to 3.13."""
    root = Path(pipeline.formats.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _WRITES, str(root), "dumps"],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "written\n"), done.stderr


def test_no_format_gives_a_tree_to_orjson() -> None:
    folder = Path(pipeline.formats.__file__).parent
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"\borjson\.(dumps|Fragment)\b", path.read_text(encoding="utf-8"))
    }
    assert found == {"strict_json.py"}
