"""A body of many small parts takes time that grows with its bytes, whatever its parts refer to or are beside.

Each of these took seconds or minutes: something was done anew for each part that was as large as the body, or the way
to each part was spelled out.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from pipeline.formats import embrace, native, sentry
from pipeline.formats.format import Beside
from pipeline.formats.limits import MAX_NESTING
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.sentry.debug_images import DebugImages
from pipeline.formats.stacks.asking import AppBuild
from pipeline.formats.stacks.crash_group import group_of
from pipeline.formats.stacks.symbolicate import symbolicated, texts_of
from pipeline.kafka.produce import RecordToSend
from pipeline.receive import answers
from pipeline.receive.judging import Verdict

NOW_MS = 1_795_737_400_000
AT = "2026-11-26T23:50:00.000Z"
LIMIT_S = 0.3
"""Processor time for one of these bodies, of some 300 kB. None takes a third of it."""


def of_sentry(**event: Any) -> bytes:
    head = {"sdk": {"name": "sentry.java.android"}, "trace": {"release": "org.example.shop@1"}}
    session = {"sid": "a1", "did": "d1", "started": AT, "timestamp": AT, "status": "ok"}
    items = ({"type": "session"}, session, {"type": "event"}, {"event_id": "e1", "timestamp": AT, **event})
    return b"\n".join(map(orjson.dumps, (head, *items)))


def images_and_frames() -> bytes:
    images = [
        {"debug_id": "a", "image_addr": hex(0x9000 + at), "image_size": 1, "code_file": "a"}
        for at in range(3_000)
    ]
    frames = [{"instruction_addr": "0x1"}] * 5_000
    thrown = {"type": "SIGSEGV", "stacktrace": {"frames": frames}}
    return of_sentry(exception={"values": [thrown]}, debug_meta={"images": images})


def of_native(attributes: bytes) -> bytes:
    event = b'{"id":"e","name":"n","time":%d,"attributes":%b}' % (NOW_MS, attributes)
    return b'{"v":1,"app_id":"a","device_id":"b","events":[%b]}' % event


def no_numbers(count: int, levels: int = 1) -> bytes:
    return b'{"a":' * levels + b"[" + b",".join([b"NaN"] * count) + b"]" + b"}" * levels


def in_a_stack(line: str) -> bytes:
    return orjson.dumps({"exception.stacktrace": "\n".join([line] * 400)})


def huge(count: int = 50_000) -> bytes:
    """Numbers that some parsers take microseconds for, each: those with large exponents."""
    return b"[" + b",".join([b"1e300"] * count) + b"]"


def of_any_key(value: bytes) -> object:
    assert native.ANY_KEY.translate is not None
    return native.ANY_KEY.translate(value, NOW_MS)


def named(**ids: bytes) -> bytes:
    said = {b"app_id": b'"a"', b"device_id": b'"b"', **{name.encode(): value for name, value in ids.items()}}
    fields = b",".join(b'"%b":%b' % each for each in said.items())
    return b'{"v":1,%b,"events":[{"id":"e","name":"n","time":%d}]}' % (fields, NOW_MS)


def report() -> bytes:
    return b'{"emb.payload":{"crash":{"threads":[{"crashed":true,"backtrace":{"contents":%b}}]}}}' % huge()


def decoded(value: bytes) -> object:
    return native.decode(value, b"a/b", NOW_MS)


BODIES: dict[str, tuple[Callable[[bytes], object], Callable[[], bytes]]] = {
    "images and frames": (lambda value: sentry.translate(value, NOW_MS), images_and_frames),
    "no numbers deep within": (decoded, lambda: of_native(no_numbers(60_000, MAX_NESTING - 5))),
    "no numbers under a long name": (
        decoded,
        lambda: of_native(b'{"%b":%b}' % (b"k" * 100_000, no_numbers(60_000))),
    ),
    "numbers for a device": (of_any_key, lambda: named(device_id=huge())),
    "numbers for an app": (of_any_key, lambda: named(app_id=huge())),
    "numbers for when it was sent": (of_any_key, lambda: named(sent_at=huge())),
    "numbers for frames": (
        lambda value: group_of("a", "crash", value),
        lambda: b'{"exception.exceptions":[{"type":"x","frames":%b}]}' % huge(),
    ),
    "numbers for calls": (lambda value: group_of("a", "crash", value), report),
    "numbers for calls that are to be symbolicated": (
        lambda value: symbolicated(AppBuild.of("a", {}), texts_of(value)),
        report,
    ),
    "numbers in the head of an envelope of Sentry": (
        lambda value: answers.sentry().of(Verdict([RecordToSend("t", None, value)]), ""),
        lambda: b'{"event_id":%b}' % huge(),
    ),
    "blanks before an address": (
        lambda value: group_of("a", "crash", value),
        lambda: in_a_stack("1 a" + " " * 590 + "b"),
    ),
    "blanks before a bracket": (
        lambda value: group_of("a", "crash", value),
        lambda: in_a_stack("#1" + " " * 590 + "b"),
    ),
}


@contextmanager
def bounded() -> Iterator[None]:
    def too_long(_: int, __: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """What thousands of other tests left in this process is not searched for garbage while a body is timed."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", BODIES)
def test_of_many_parts(name: str) -> None:
    read, make = BODIES[name]
    body = make()
    began_s = time.process_time()
    with bounded():
        read(body)
    assert time.process_time() - began_s < LIMIT_S


def processor_s(do: Callable[[], object]) -> float:
    """The best of five."""
    took = []
    for _ in range(5):
        began_s = time.process_time()
        do()
        took.append(time.process_time() - began_s)
    return min(took)


def test_a_resource_of_many_members_is_not_read_again() -> None:
    facts = b",".join(b'"k%d":0' % number for number in range(90_000))
    logs = b'{"logs":[{"time_unix_nano":%d,"body":"x","attributes":[]}]}' % (NOW_MS * 1_000_000)
    body = b'{"resource":{%b},"metadata":{},"version":"1","type":"logs","data":%b}' % (facts, logs)
    beside = Beside(headers=(("x-em-aid", b"a"), ("x-em-did", b"b")))

    refused = embrace.decode(body, NOW_MS, beside)
    assert isinstance(refused, Rejected) and refused.reason is Reason.RESOURCE_TOO_LARGE
    # It is parsed, its members are renamed, and each becomes text. Written as JSON and read twice more for that, with
    # the blanks of each member looked for, it took thirteen times its parsing; now it takes some four times that.
    once_s = processor_s(lambda: orjson.loads(body))
    assert processor_s(lambda: embrace.decode(body, NOW_MS, beside)) < 8 * once_s


def test_an_address_is_in_the_image_that_begins_last_before_it() -> None:
    said = (("aa", 0x1000, 0x1000), ("bb", 0x4000, 0), ("cc", 0x2000, 0x1000), ("dd", 0x5000, 0x100))
    images = [
        {"debug_id": id, "image_addr": hex(start), "image_size": size, "code_file": id}
        for id, start, size in said
    ]
    found = DebugImages({"images": images})

    def image_of(address: int, number: int = 0) -> str:
        return found.line({"instruction_addr": hex(address)}, number)[-3:-1]

    assert [image_of(at) for at in (0xFFF, 0x1000, 0x1FFF, 0x2000, 0x2FFF, 0x3000)] == [
        "", "aa", "aa", "cc", "cc", "",
    ]  # fmt: skip
    # Where a caller comes back to is behind its call, which may have been the last of its image.
    assert (image_of(0x2000, 0), image_of(0x2001, 1)) == ("cc", "cc")
    # One that does not say how large it is goes on up to the next, and behind that one.
    assert [image_of(at) for at in (0x4FFF, 0x50FF, 0x5100)] == ["bb", "dd", "bb"]
