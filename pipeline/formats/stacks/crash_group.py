"""Which crashes, ANRs and non-fatal exceptions are alike: a group is a fingerprint of what an event says.

What counts is the kind, the exception's type or the signal, and the first frames of the app's own code, by method and
file: no line, no offset, no address. Where no frame names a method (a stack without symbols, or none at all) the
libraries of the stack stand in for it, and the message counts as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from pipeline.domain.event import Kind
from pipeline.formats.stacks.frames import Section, StackFrame, read_stack
from pipeline.formats.stacks.names import (
    MAX_MESSAGE_CHARS,
    file_name,
    function_name,
    image_name,
    short,
    short_call,
    words_of,
)
from pipeline.formats.stacks.own_code import is_own
from pipeline.formats.stacks.structured import read_exceptions, read_report

VERSION = 1
"""Of the fingerprint, and what a group's id begins with. Whatever changes a group of any event raises it."""
FAILURES = frozenset(("app.crash", "app.anr", "exception"))
"""The names of events that have a group."""
OWN_FRAMES = 3
"""That count: two bugs in one function are told apart by who calls it, and a change further away tells none apart."""
IMAGES = 8
"""That count where no frame names a method."""
_FATAL = (Kind.CRASH.label, Kind.EXCEPTION.label)
_BY_NAME = {"app.anr": "anr", "exception": "exception"}
_MAX_CHARS = 200
"""Of a type, and of a frame."""


class CrashGroup(NamedTuple):
    """What an event belongs to, and how that is called."""

    kind: str
    """`crash`, also of a fatal exception; `anr`; `exception`, which ended nothing."""
    id: str
    """The version of the fingerprint, a hyphen, and 16 hexadecimal digits."""
    title: str
    """Type and message, of the cause that the culprit is in."""
    culprit: str
    """The first frame of the app's own code, else of any; empty without a stack."""


class _Facts(msgspec.Struct):
    type: msgspec.Raw = msgspec.field(name="exception.type", default=msgspec.Raw())
    message: msgspec.Raw = msgspec.field(name="exception.message", default=msgspec.Raw())
    stack: msgspec.Raw = msgspec.field(name="exception.stacktrace", default=msgspec.Raw())
    exceptions: msgspec.Raw = msgspec.field(name="exception.exceptions", default=msgspec.Raw())
    of_anr: msgspec.Raw = msgspec.field(name="anr.exceptions", default=msgspec.Raw())
    report: msgspec.Raw = msgspec.field(name="emb.payload", default=msgspec.Raw())


ATTRIBUTES = tuple(field.encode_name for field in msgspec.structs.fields(_Facts))
"""All that is read of an event."""
_decode = msgspec.json.Decoder(_Facts).decode
_decode_text = msgspec.json.Decoder(str).decode
_NOTHING = _Facts()


def kind_of(name: str, kind: str) -> str:
    """What an event of that name and kind (its label) is counted as; empty if it has no group."""
    return "crash" if kind in _FATAL else _BY_NAME.get(name, "")


def group_of(app_id: str, kind: str, attributes: bytes) -> CrashGroup:
    """The group of an event. `attributes` is its JSON object; a nested value may be its JSON text.

    Never raises because of what it reads: what is not text is not there. The same event gives the same group, whether
    it is read as it came or from ClickHouse.
    """
    try:
        facts = _decode(attributes)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        facts = _NOTHING
    told_type, told_message = text_of(facts.type).strip(), text_of(facts.message).strip()
    chain = _chain(facts)
    chosen, culprit = _chosen(chain, app_id)
    type, message = _called(kind, told_type, told_message, chain, chosen)
    own = (frame for frame in chosen.frames if is_own(frame, app_id))
    names = _distinct(own, OWN_FRAMES) or _distinct(chosen.frames, OWN_FRAMES)
    parts = [kind, *_types(kind, told_type, chain, chosen)]
    if names:
        parts += names
    else:
        parts += [*_images(chosen.frames), words_of(told_message or chosen.message)]
    digest = blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()
    title = f"{short(type)}: {message}" if message and message != type else short(type)
    return CrashGroup(kind, f"{VERSION}-{digest}", title[:MAX_MESSAGE_CHARS], culprit[:_MAX_CHARS])


def _chain(facts: _Facts) -> list[Section]:
    """The exceptions of an event, the outermost first, by what says most of them."""
    for raw in (facts.exceptions, facts.of_anr):
        found = read_exceptions(json) if (json := _json(raw)) else []
        if any(each.frames for each in found):
            return found
    if stack := text_of(facts.stack):
        return read_stack(stack)
    if json := _json(facts.report):
        return read_report(json)
    json = _json(facts.exceptions) or _json(facts.of_anr)
    return read_exceptions(json) if json else []


def _chosen(chain: list[Section], app_id: str) -> tuple[Section, str]:
    """The innermost cause that has code of the app, else the innermost that has any; and the culprit in it."""
    with_frames = [each for each in chain if each.frames]
    for section in reversed(with_frames):
        own = (frame for frame in section.frames if is_own(frame, app_id))
        if (first := next(own, None)) is not None:
            return section, _culprit(itertools.chain((first,), own))
    section = with_frames[-1] if with_frames else chain[0] if chain else Section("", "", ())
    return section, _culprit(section.frames)


def _types(kind: str, told: str, chain: list[Section], chosen: Section) -> list[str]:
    if kind == "anr":
        # What it is called is the class of the SDK that noticed, and another one in every build.
        return []
    outer = told or (chain[0].type if chain else "")
    return [each[:_MAX_CHARS] for each in dict.fromkeys((outer, chosen.type or outer))]


def _called(kind: str, type: str, message: str, chain: list[Section], chosen: Section) -> tuple[str, str]:
    if chain and chosen is not chain[0] and chosen.type:
        type, message = chosen.type, chosen.message
    elif not type:
        type, message = chosen.type, message or chosen.message
    if kind == "anr":
        return "ANR", message.partition("\n")[0]
    return type or "unknown error", message.partition("\n")[0]


def _distinct(frames: Iterable[StackFrame], most: int) -> list[str]:
    """Methods and files of the first frames that name one, each once: recursion may be of any depth."""
    found: dict[str, None] = {}
    for frame in frames:
        if name := function_name(frame.function):
            file = file_name(frame.file) or image_name(frame.image)
            found[f"{name} {file}"[:_MAX_CHARS]] = None
        elif file := file_name(frame.file):
            found[f" {file}"[:_MAX_CHARS]] = None
        if len(found) == most:
            break
    return list(found)


def _images(frames: tuple[StackFrame, ...]) -> list[str]:
    found: list[str] = []
    for frame in frames:
        image = image_name(frame.image)[:_MAX_CHARS]
        if image and image not in found[-1:]:
            found.append(image)
        if len(found) == IMAGES:
            break
    return found


def _culprit(frames: Iterable[StackFrame]) -> str:
    for frame in frames:
        name, file = (
            short_call(function_name(frame.function)),
            file_name(frame.file) or image_name(frame.image),
        )
        if name or file:
            return f"{name} ({file})" if name and file else name or file
    return ""


def text_of(raw: msgspec.Raw) -> str:
    """A JSON value as ClickHouse has it: a text, or the JSON of what is none."""
    value = bytes(raw)
    if not value or value == b"null":
        return ""
    try:
        return _decode_text(value) if value[:1] == b'"' else value.decode()
    except (msgspec.MsgspecError, UnicodeError):
        return ""


def _json(raw: msgspec.Raw) -> bytes:
    value = bytes(raw)
    return text_of(raw).encode("utf-8", "replace") if value[:1] == b'"' else value
