"""The stack of an event in the words of the source, as far as there are files for it; and which files it needs.

A stack is written anew in the form in which it came, so that everything that reads stacks reads this one: groups are
made of what the source says, and whether a call is the app's own is told by its real name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from pipeline.formats.stacks.asking import AppBuild, AskedFile, Asking, is_own_of
from pipeline.formats.stacks.crash_group import text_of
from pipeline.formats.stacks.frames import CAUSE, MAX_LINE_CHARS, MAX_LINES, read_frame, read_head
from pipeline.formats.stacks.names import KEPT
from pipeline.formats.stacks.places import JvmCall, NativeCall, PlacedCall, ScriptCall, dart_id_of, place_of
from pipeline.formats.stacks.structured_symbols import exceptions_anew, report_anew
from pipeline.formats.stacks.symbols import Call, Symbols, plain_id

STACKS = ("exception.stacktrace", "exception.exceptions", "anr.exceptions", "emb.payload", "exception.type")
"""The attributes that are written anew."""
READ = (
    *(*STACKS, "exception.message", "exception.binary_images", "anr.binary_images"),
    *("symbols.mapping_id", "symbols.script_ids"),
)
"""All that is read of an event, here and for its group."""


class _Facts(msgspec.Struct):
    stack: msgspec.Raw = msgspec.field(name=READ[0], default=msgspec.Raw())
    exceptions: msgspec.Raw = msgspec.field(name=READ[1], default=msgspec.Raw())
    of_anr: msgspec.Raw = msgspec.field(name=READ[2], default=msgspec.Raw())
    report: msgspec.Raw = msgspec.field(name=READ[3], default=msgspec.Raw())
    type: msgspec.Raw = msgspec.field(name=READ[4], default=msgspec.Raw())
    message: msgspec.Raw = msgspec.field(name=READ[5], default=msgspec.Raw())
    images: msgspec.Raw = msgspec.field(name=READ[6], default=msgspec.Raw())
    images_of_anr: msgspec.Raw = msgspec.field(name=READ[7], default=msgspec.Raw())
    mapping_id: msgspec.Raw = msgspec.field(name=READ[8], default=msgspec.Raw())
    script_ids: msgspec.Raw = msgspec.field(name=READ[9], default=msgspec.Raw())


_NAMES = dict(zip(_Facts.__struct_fields__, READ, strict=True))
_decode = msgspec.json.Decoder(_Facts).decode
_decode_ids = msgspec.json.Decoder(dict[str, str]).decode


def texts_of(attributes: bytes) -> dict[str, str]:
    """What is read of an event, of the JSON object of its attributes as it came, as ClickHouse has it."""
    try:
        facts = _decode(attributes)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return {name: text for field, name in _NAMES.items() if (text := text_of(getattr(facts, field)))}


class Symbolicated(NamedTuple):
    """An event whose stack is in the words of the source."""

    attributes: dict[str, str]
    """Those of the event; what had a name of the source to it is written anew."""
    asked: list[AskedFile]
    """The files that the stack needs."""
    raw: dict[str, str]
    """By each line that was written anew, of the text or as it is shown, how it came."""
    is_anew: bool
    """Whether anything is."""


def symbolicated(
    app: AppBuild, attributes: Mapping[str, str], symbols: Symbols | None = None
) -> Symbolicated:
    """Write the stack of an event anew. `attributes` are texts as ClickHouse has them, nested ones as JSON.

    Never raises because of what it reads; raises what `symbols` does. Without symbols the files are told that it needs.
    """
    asking = Asking(app, symbols)
    asking.mapping_id = plain_id(attributes.get("symbols.mapping_id", ""))
    asking.script_ids = _script_ids(attributes.get("symbols.script_ids", ""))
    made, raw = dict(attributes), {}
    for name in ("exception.exceptions", "anr.exceptions"):
        if json := attributes.get(name, ""):
            images = attributes.get(f"{name.partition('.')[0]}.binary_images", "")
            if written := exceptions_anew(json, images, asking):
                made[name] = written.json
                raw.update(written.raw)
                if written.has_addresses:
                    # The text has no more than the addresses.
                    made.pop("exception.stacktrace", None)
    if (json := attributes.get("emb.payload", "")) and (written := report_anew(json, asking)):
        made["emb.payload"] = written.json
        raw.update(written.raw)
    if text := made.get("exception.stacktrace", ""):
        lines = _lines_anew(text, asking)
        if any(told != came for told, came in lines):
            made["exception.stacktrace"] = "\n".join(told for told, _ in lines)
            raw.update((told, came) for told, came in lines if told != came)
    if type := attributes.get("exception.type", ""):
        made["exception.type"] = asking.type_name(type)
    is_anew = asking.has_found and made != attributes
    return Symbolicated(made if is_anew else dict(attributes), asking.asked, raw, is_anew)


def _script_ids(json: str) -> dict[str, str]:
    """The debug ids of scripts by their URLs; none where it says none."""
    try:
        found = _decode_ids(json) if json else {}
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    return {url: plain_id(id) for url, id in found.items()}


def _lines_anew(text: str, asking: Asking) -> list[tuple[str, str]]:
    """Each line as it is written now, and as it came; a call with others inlined in it makes several."""
    dart_id, found = dart_id_of(text), []
    for whole_line in text.split("\n", MAX_LINES)[:MAX_LINES]:
        line = whole_line[:MAX_LINE_CHARS].rstrip()
        place = place_of(line, dart_id)
        calls = _calls(asking, line, place) if place else []
        found += [(_written(line, place, call), line) for call in calls] or [(line, line)]
    if not asking.has_found:
        return found
    # The mapping is known by now.
    return [(_head_anew(told, asking) if told == came else told, came) for told, came in found]


def _calls(asking: Asking, line: str, place: PlacedCall) -> Sequence[Call]:
    is_own_call = _is_own_line(asking.app.id, line)
    if isinstance(place, JvmCall):
        return asking.jvm(place, is_own_call=is_own_call)
    if isinstance(place, ScriptCall):
        return asking.script(place, is_own_call=is_own_call)
    return asking.native(place, is_own_call=is_own_call or place.image == "libapp.so")


@lru_cache(KEPT)
def _is_own_line(app_id: str, line: str) -> bool:
    return is_own_of(app_id, read_frame(line))


def _written(line: str, place: PlacedCall | None, call: Call) -> str:
    """A call in the form of the line that it stands for."""
    at = f"{call.file}:{call.line}" if call.file and call.line else call.file
    if isinstance(place, NativeCall):
        image = place.image if place.image != "libapp.so" else ""
        function = call.function or "unknown"
        return f"\tat {function} ({at or image})" if at or image else f"\tat {function}"
    indent = line[: len(line) - len(line.lstrip())]
    if isinstance(place, JvmCall):
        head = "at " if line.lstrip().startswith("at ") else ""
        space = "" if head or " (" not in line else " "
        return f"{indent}{head}{call.function}{space}({at or 'Unknown Source'})"
    if line.lstrip().startswith("at "):
        return f"{indent}at {call.function} ({at})" if call.function else f"{indent}at {at}"
    return f"{call.function or '?'} ({at})"


def _head_anew(line: str, asking: Asking) -> str:
    """A line that names an exception, with the name of the source."""
    cause = CAUSE.match(line)
    head = cause[1] if cause else line.strip()
    type, _ = read_head(head)
    if not type or (name := asking.type_name(type)) == type:
        return line
    return line.replace(type, name, 1)
