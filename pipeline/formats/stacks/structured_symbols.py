"""Chains of exceptions and crash reports in JSON, written anew in the words of the source.

What Measure's SDKs send has classes and lines, or addresses beside a list of images; a report of Apple's crash reporter
(KSCrash) has addresses and images. Both stay of the form that `structured` reads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from pipeline.formats.stacks.asking import Asking, is_own_of
from pipeline.formats.stacks.frames import MAX_LINES, StackFrame
from pipeline.formats.stacks.places import JvmCall, NativeCall, ScriptCall
from pipeline.formats.stacks.structured import ANEW, as_line, frame_of, frame_of_report
from pipeline.formats.stacks.symbols import Call, plain_id

_MOST_IMAGES = 4_000
_encode = msgspec.json.Encoder().encode


class WrittenAnew(NamedTuple):
    """Some JSON as it is now."""

    json: str
    raw: dict[str, str]
    """By each call as it is shown, how it came."""
    has_addresses: bool
    """Whether there are calls of which it says no more than an address."""


class _Image(NamedTuple):
    start: int
    end: int
    """0 where it is not known."""
    name: str
    id: str
    arch: str


class Images:
    """The images of a process, found by an address in them."""

    def __init__(self, images: Iterable[_Image]) -> None:
        self._images = sorted(images)
        self._starts = [image.start for image in self._images]

    def at(self, address: int) -> _Image | None:
        """The one that an address is in; None where that is not known."""
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        image = self._images[place]
        return image if not image.end or address <= image.end else None


def exceptions_anew(json: str, images_json: str, asking: Asking) -> WrittenAnew | None:
    """`exceptions` of Measure; None where it is none. Raises what the files do."""
    chain, images = _list(json), Images(_images_of(_list(images_json)))
    if not chain:
        return None
    raw: dict[str, str] = {}
    made, has_addresses = [], False
    for section in chain[:MAX_LINES]:
        each = section
        frames = each.get("frames") if isinstance(each, dict) else None
        if isinstance(frames, list):
            written: list[Any] = []
            for place, frame in enumerate(frames[:MAX_LINES]):
                anew, is_address = _frame_anew(frame, images, asking, is_first=place == 0, raw=raw)
                written += anew
                has_addresses = has_addresses or is_address
            each = {**each, "frames": written}
        made.append(each)
    for each in made:
        if isinstance(each, dict) and isinstance(each.get("type"), str):
            each["type"] = asking.type_name(each["type"])
    return WrittenAnew(_encode(made).decode(), raw, has_addresses)


def report_anew(json: str, asking: Asking) -> WrittenAnew | None:
    """A report of KSCrash; None where it tells of no thread that crashed. Raises what the files do."""
    report = _decoded(json)
    crash = report.get("crash") if isinstance(report, dict) else None
    threads = crash.get("threads") if isinstance(crash, dict) else None
    if not isinstance(threads, list):
        return None
    images = Images(_images_of_report(report.get("binary_images")))
    for thread in threads:
        backtrace = thread.get("backtrace") if isinstance(thread, dict) and thread.get("crashed") else None
        calls = backtrace.get("contents") if isinstance(backtrace, dict) else None
        if isinstance(backtrace, dict) and isinstance(calls, list):
            raw: dict[str, str] = {}
            backtrace["contents"] = [
                anew
                for place, call in enumerate(calls[:MAX_LINES])
                for anew in _call_anew(call, images, asking, is_first=place == 0, raw=raw)
            ]
            # No more of it than is read: reports are large.
            return WrittenAnew(_encode({"crash": {"threads": [thread]}}).decode(), raw, has_addresses=True)
    return None


def _frame_anew(
    frame: Any, images: Images, asking: Asking, *, is_first: bool, raw: dict[str, str]
) -> tuple[list[Any], bool]:
    """What a frame of Measure's stands for, and whether it was an address."""
    if not isinstance(frame, dict):
        return [frame], False
    read = frame_of(frame)
    is_own_call = is_own_of(asking.app.id, read)
    owner, method, file = (_text(frame.get(key)) for key in ("class_name", "method_name", "file_name"))
    line, column = (_number(frame.get(key)) for key in ("line_num", "col_num"))
    address = _address(frame.get("instruction_address")) or _address(frame.get("symbol_address"))
    calls: Sequence[Call] = ()
    is_address = bool(address) and not read.function
    if address and (not read.function or not read.file):
        image = images.at(address)
        base = image.start if image else _address(frame.get("binary_address"))
        name = read.image or (image.name if image else "")
        # Dart, whose images have no end, tells where calls come back to, also of the first.
        is_return = not is_first or (image is not None and not image.end)
        id = image.id if image else ""
        call = NativeCall(address - base, name, id, bool(read.function), is_return=is_return)
        if base:
            calls = asking.native(
                call, is_own_call=is_own_call or not name, arch=image.arch if image else "",
            )  # fmt: skip
    elif owner and method and column == 0:
        calls = asking.jvm(JvmCall(owner, method, file, line), is_own_call=is_own_call)
    elif file and line and column:
        calls = asking.script(ScriptCall(read.function, file, line, column), is_own_call=is_own_call)
    if not calls:
        return [frame], is_address
    came = (
        _raw(read, address) if is_address else f"{read.function} ({file}:{line})" if file else read.function
    )
    anew = [_written(frame, call) for call in calls]
    raw.update((as_line(frame_of(each)), came) for each in anew)
    return anew, is_address


def _written(frame: dict[str, Any], call: Call) -> dict[str, Any]:
    return {
        **frame, "class_name": "", "method_name": call.function, "module_name": "", "file_name": call.file,
        "line_num": call.line, ANEW: True,
    }  # fmt: skip


def _call_anew(
    call: Any, images: Images, asking: Asking, *, is_first: bool, raw: dict[str, str]
) -> Iterator[Any]:
    if not isinstance(call, dict):
        yield call
        return
    read, address = frame_of_report(call), _number(call.get("instruction_addr"))
    image = images.at(address) if address else None
    base = _number(call.get("object_addr")) or (image.start if image else 0)
    calls: Sequence[Call] = ()
    if base and base <= address:
        place = NativeCall(
            address - base, read.image, image.id if image else "", bool(read.function), is_return=not is_first
        )
        calls = asking.native(
            place, is_own_call=is_own_of(asking.app.id, read), arch=image.arch if image else "",
        )  # fmt: skip
    if not calls:
        yield call
    for told in calls:
        anew = {
            **call, "symbol_name": told.function or call.get("symbol_name"), "file_name": told.file,
            "line_num": told.line, ANEW: True,
        }  # fmt: skip
        raw[as_line(frame_of_report(anew))] = _raw(read, address)
        yield anew


def _raw(read: StackFrame, address: int) -> str:
    return " ".join(part for part in (read.image.rpartition("/")[2], hex(address), read.function) if part)


def _images_of(images: list[Any]) -> Iterator[_Image]:
    for each in images[:_MOST_IMAGES]:
        if isinstance(each, dict):
            start = _address(each.get("start_addr")) or _address(each.get("base_addr"))
            if start:
                name = _text(each.get("name")) or _text(each.get("path")).rpartition("/")[2]
                yield _Image(
                    start,
                    _address(each.get("end_addr")),
                    name,
                    plain_id(each.get("uuid")),
                    _text(each.get("arch")),
                )


_CPUS = {16777223: "x86_64", 16777228: "arm64", 12: "arm", 33554444: "arm64_32"}
"""Mach-O's numbers of architectures (mach/machine.h)."""


def _images_of_report(images: Any) -> Iterator[_Image]:
    for each in images[:_MOST_IMAGES] if isinstance(images, list) else ():
        if isinstance(each, dict) and (start := _number(each.get("image_addr"))):
            size = _number(each.get("image_size"))
            arch = _CPUS.get(_number(each.get("cpu_type")), "")
            name = _text(each.get("name")).rpartition("/")[2]
            yield _Image(start, start + size - 1 if size else 0, name, plain_id(each.get("uuid")), arch)


def _address(value: Any) -> int:
    """An address in hexadecimal digits, with 0x or without; 0 if it is none."""
    if not isinstance(value, str) or not 0 < len(value) <= 18:
        return 0
    try:
        return max(int(value, 16), 0)
    except ValueError:
        return 0


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 64 else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _decoded(json: str) -> Any:
    try:
        return orjson.loads(json.encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return None


def _list(json: str) -> list[Any]:
    found = _decoded(json) if json else None
    return found if isinstance(found, list) else []
