"""What of a line of a stack trace symbols are looked up by: class and line, script and column, image and address.

Of a line that says no such thing there is nothing; `frames.read_frame` reads it all the same.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pipeline.formats.stacks.names import KEPT
from pipeline.formats.stacks.symbols import plain_id


class JvmCall(NamedTuple):
    """`at a.b.c(SourceFile:12)`."""

    owner: str
    method: str
    file: str
    line: int
    """0 where there is none."""


class ScriptCall(NamedTuple):
    """`at pay (https://shop.example/a.js:1:37)`, and what Firefox, Safari, Sentry, Faro and Hermes write."""

    function: str
    url: str
    line: int
    column: int


class NativeCall(NamedTuple):
    """Of Android's native code, of Dart, of Apple."""

    address: int
    """From the start of its image on."""
    image: str
    id: str
    """Where the line has it."""
    has_name: bool
    """Whether it names a function already."""
    is_return: bool = True
    """Whether a call comes back to the address, one instruction behind it."""


PlacedCall = JvmCall | ScriptCall | NativeCall

_JVM = re.compile(
    r"(?:at )?(?:[\w.\-@]*//?)?(?P<owner>[\w$\-]+(?:\.[\w$\-]+)*)\.(?P<method>[\w$<>\-]+) ?"
    r"\((?P<file>[\w$.\- ]*)(?::(?P<line>-?\d{1,9}))?\)"
)
_URL = (
    r"(?P<url>[^\s()@]+?\.(?:js|mjs|cjs|bundle|jsbundle|hbc)(?:[?#][^\s()]*?)?)"
    r":(?P<line>\d{1,9}):(?P<column>\d{1,9})"
)
_IS_SCRIPT = re.compile(r"\.(?:js|mjs|cjs|bundle|jsbundle|hbc)[:?#]")
_V8 = re.compile(rf"at (?:async )?(?P<function>[^(]*?) ?\((?:address at )?{_URL}\)")
_V8_WITHOUT_NAME = re.compile(rf"at (?:async )?(?P<function>){_URL}")
_FIREFOX = re.compile(rf"(?P<function>[^@]*)@{_URL}")
_WRITTEN_DOWN = re.compile(rf"(?P<function>[^()]*?) ?\({_URL}\)")
_ANDROID = re.compile(r"(?:native: )?#\d+\s+pc\s+(?:0x)?([0-9a-fA-F]{1,16})\s+(\S+)(.*)")
_BUILD_ID = re.compile(r"\(BuildId:? ?([0-9a-fA-F]+)\)")
_FUNCTION = re.compile(r"\((?!BuildId|offset)[^()]")
_DART = re.compile(r"#\d+ abs [0-9a-fA-F]+ virt ([0-9a-fA-F]{1,16}) _kDart\w*Instructions\+")
_APPLE = re.compile(r"\d+\s+(\S.*?)(?<=\S)\s+0x[0-9a-fA-F]+\s+(.*?)(?: \+ (\d{1,12}))?")
_DART_ID = re.compile(r"build_id: '([0-9a-fA-F]+)'")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


@lru_cache(KEPT)
def place_of(line: str, dart_id: str = "") -> PlacedCall | None:
    """What a line tells of where a call is. `dart_id` is that of Dart's code, from the trace's head."""
    text = line.strip()
    if text[:1].isdigit() or text.startswith(("#", "native: #")):
        return _native(text, dart_id)
    if _IS_SCRIPT.search(text):
        return _script(text)
    found = _JVM.fullmatch(text) if text.endswith(")") else None
    return (
        JvmCall(found["owner"], found["method"], found["file"], max(int(found["line"] or 0), 0))
        if found
        else None
    )


def dart_id_of(text: str) -> str:
    """The id that Dart writes above the addresses of a trace; empty without one."""
    found = _DART_ID.search(text, 0, 2_000)
    return plain_id(found[1]) if found else ""


def _script(text: str) -> ScriptCall | None:
    if text.startswith("at "):
        found = (_V8 if text.endswith(")") else _V8_WITHOUT_NAME).fullmatch(text)
    else:
        found = (_WRITTEN_DOWN if text.endswith(")") else _FIREFOX).fullmatch(text)
    if found is None:
        return None
    function = "" if found["function"] in ("?", "anonymous", "<anonymous>") else found["function"].strip()
    return ScriptCall(function, found["url"], int(found["line"]), int(found["column"]))


def _native(text: str, dart_id: str) -> NativeCall | None:
    if found := _ANDROID.match(text):
        build = _BUILD_ID.search(found[3])
        has_name = _FUNCTION.search(found[3]) is not None
        # Android's unwinder has taken the addresses of callers back into their calls (libunwindstack).
        id = plain_id(build[1]) if build else ""
        return NativeCall(int(found[1], 16), found[2], id, has_name, is_return=False)
    if found := _DART.match(text):
        return NativeCall(int(found[1], 16), "libapp.so", dart_id, has_name=False)
    if (found := _APPLE.fullmatch(text)) and found[3]:
        symbol = found[2].strip()
        # Without symbols the image stands in their place, or the address that it was loaded to.
        if symbol == found[1] or _ADDRESS.fullmatch(symbol):
            is_first = text.startswith("0 ")
            return NativeCall(int(found[3]), found[1], "", has_name=False, is_return=not is_first)
    return None
