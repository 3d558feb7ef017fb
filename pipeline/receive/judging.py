"""What of a body is sound, and what it becomes in Kafka: by the formats' own decoders, as the router has them.

What is refused goes to Kafka all the same, where the router makes dead letters of it: nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from pipeline.formats import native, otlp, registry
from pipeline.formats.edge import OPEN_EDGE, Edge
from pipeline.formats.envelope import Envelope
from pipeline.formats.format import Beside, Format, Headers, Translate
from pipeline.formats.limits import MAX_MADE_BYTES
from pipeline.formats.native.array import elements_of, is_array
from pipeline.formats.options import DEFAULTS, Options
from pipeline.formats.otlp.decode import is_protobuf
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Translation
from pipeline.kafka.produce import RecordToSend
from pipeline.receive.refusal import NeverTaken

MAX_LISTED = 1_000
"""Of what is refused of a body: a long one may hold hundreds of thousands of faults."""
_LATER_MS = 2 * 86_400_000
_NOT_LATER = (Reason.TIME_OUT_OF_RANGE, Reason.RECORD_TOO_LARGE)
"""What is too early now may not be when the router reads it; nor need it be told then that a clock was ahead, and an
event is shorter without."""
_PATH = re.compile(r"([\w$.\[\]/\"@:-]{1,200}): ")


class _Counted(msgspec.Struct):
    events: list[msgspec.Raw]


_counted = msgspec.json.Decoder(_Counted)


class RefusedPart(NamedTuple):
    """Something refused, with its place in the body."""

    path: str
    reason: str
    detail: str


class SentWith(NamedTuple):
    """What came with a body."""

    headers: Headers
    """For the record."""
    now_ms: int
    options: Options = DEFAULTS
    edge: Edge = OPEN_EDGE
    """The rules by which the router lets it in."""
    asks_for_apps: bool = False
    """Whether the key is for some apps only: `Verdict.apps` has to be complete."""


@dataclass(slots=True)
class Verdict:
    """What a body comes to."""

    records: list[RecordToSend]
    """For Kafka: all that came, what is refused included."""
    accepted: int = 0
    """Events that are sound."""
    faults: list[RefusedPart] = field(default_factory=list)
    """The first MAX_LISTED of what is not."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How much is not, by its reason."""
    apps: set[str] = field(default_factory=set)
    """The apps that the body claims to be of, as far as it can be read."""
    is_refused: bool = False
    """Nothing of it is sound. What says nothing, as spans that an SDK keeps for itself, is not a fault."""
    is_too_large: bool = False

    @property
    def rejected(self) -> int:
        """How many events, log records or spans are not sound."""
        return self.reasons.total()


Judge = Callable[[bytes, SentWith], Verdict]
"""Body to verdict. Never raises because of the body, but for `NotTaken` (403, 413). Blocks for as long as decoding
takes."""


def whole(topic: str) -> Judge:
    """Judges bodies that become one record of a topic as they are."""

    def judge(body: bytes, sent: SentWith) -> Verdict:
        found = _format_of(topic)
        if found is None or found.translate is None:
            return _unread(topic, body, sent)
        translation = _translated(found.translate, body, sent, sent.now_ms)
        if found.name == otlp.LOGS.name and any(
            each.reason is Reason.NO_EVENTS for each in translation.refused
        ):
            # A message without records is no fault (OTLP, "Full Success"), and there is nothing in it to keep.
            return Verdict([])
        faults, made = translation.refused, translation.records
        verdict = _verdict(topic, body, sent, made[0].key if made else None)
        verdict.accepted = sum(len(_counted.decode(record.value).events) for record in made)
        verdict.apps = _apps(record.key for record in made)
        del made, translation  # A body may become some hundred megabytes, and so it does not twice.
        if sent.asks_for_apps and any(fault.reason in _NOT_LATER for fault in faults):
            later = _translated(found.translate, body, sent, sent.now_ms + _LATER_MS)
            verdict.apps |= _apps(record.key for record in later.records)
        return _with_faults(verdict, faults)

    return judge


def _translated(translate: Translate, body: bytes, sent: SentWith, record_ms: int) -> Translation:
    """What a body becomes; a body that is refused whole is its own and only fault."""
    translation = translate(body, record_ms, Beside(sent.headers, sent.options))
    if isinstance(translation, Rejected):
        return Translation([], [translation])
    if sent.asks_for_apps and translation.is_full:
        # The router may have room for some of it.
        raise NeverTaken(
            413,
            "too_large",
            f"it becomes more than {MAX_MADE_BYTES} bytes, so not all of it was checked for its app: send less at "
            "once, or use a key for all apps",
        )
    return translation


def whole_of(signal: Format, other: str) -> Judge:
    """Judges bodies that are of the one signal of OTLP, in JSON or protobuf, or else of the other topic."""

    def judge(body: bytes, sent: SentWith) -> Verdict:
        is_otlp = is_protobuf(body) or signal.holds(body)
        return whole(signal.topic if is_otlp else other)(body, sent)

    return judge


def envelopes(body: bytes, sent: SentWith) -> Verdict:
    """Judges a native envelope, or an array of them: a record each."""
    topic = native.ANY_KEY.topic
    if not is_array(body):
        return _envelope(topic, body, sent, "")
    elements = elements_of(body)
    if isinstance(elements, Rejected):
        # As one record, of which the router makes one dead letter.
        return _with_faults(_verdict(topic, body, sent, None), [elements])
    verdict = Verdict([])
    for index, value in enumerate(elements):
        one = _envelope(topic, value, sent, f"[{index}]")
        verdict.records += one.records
        verdict.accepted += one.accepted
        verdict.faults += one.faults[: MAX_LISTED - len(verdict.faults)]
        verdict.apps |= one.apps
        verdict.reasons += one.reasons
    verdict.is_refused = not verdict.accepted
    return verdict


def _envelope(topic: str, value: bytes, sent: SentWith, where: str) -> Verdict:
    key = native.key_of(value)
    verdict = _verdict(topic, value, sent, key)
    verdict.apps = _apps([key] if key else [])
    read = _read(value, key, sent.now_ms)
    if isinstance(read, Rejected) and (less := sent.edge.shrunk(topic, value, read)):
        read = _read(less, key, sent.now_ms)
    if isinstance(read, Rejected):
        return _with_faults(verdict, [_with_way_out(read)], where)
    verdict.accepted, faults = read
    return _with_faults(verdict, faults, where)


def _with_way_out(read: Rejected) -> Rejected:
    """A body may be longer than a record, which nobody would guess from the limit of the one alone."""
    if read.reason is not Reason.RECORD_TOO_LARGE:
        return read
    return msgspec.structs.replace(read, detail=f"{read.detail}, or several envelopes in one array")


def _read(value: bytes, key: bytes | None, now_ms: int) -> tuple[int, Sequence[Rejected]] | Rejected:
    """How many events of an envelope are sound, and what is refused of it."""
    read = native.decode(value, key, now_ms)
    if isinstance(read, Envelope):
        return len(read.events), read.refused
    if read.reason is not Reason.TOO_MANY_EVENTS or native.ANY_KEY.translate is None:
        return read
    translation = native.ANY_KEY.translate(value, now_ms)
    if isinstance(translation, Rejected):
        return translation
    return sum(len(_counted.decode(each.value).events) for each in translation.records), translation.refused


def _verdict(topic: str, value: bytes, sent: SentWith, key: bytes | None) -> Verdict:
    # Under the key of the first device in it: what one device sends stays in order.
    return Verdict([RecordToSend(topic, key, value, headers=sent.headers)])


def _with_faults(verdict: Verdict, faults: Sequence[Rejected], where: str = "") -> Verdict:
    return replace(
        verdict,
        faults=[_fault(each, where) for each in faults[:MAX_LISTED]],
        reasons=Counter(str(each.reason) for each in faults),
        is_refused=not verdict.accepted and bool(faults),
        is_too_large=any(
            each.reason is Reason.RECORD_TOO_LARGE and each.event_index is None for each in faults
        ),
    )


def _fault(rejected: Rejected, where: str) -> RefusedPart:
    found = _PATH.match(rejected.detail)
    path = found[1] if found else "$"
    if where:
        path = where if path == "$" else f"{where}.{path}"
    return RefusedPart(path, str(rejected.reason), rejected.detail)


def _apps(keys: Iterable[bytes]) -> set[str]:
    return {native.app_of(key) for key in keys}


def _format_of(topic: str) -> Format | None:
    return next((each for each in registry.FORMATS if each.topic == topic), None)


def _unread(topic: str, body: bytes, sent: SentWith) -> Verdict:
    """A format that has no decoder yet: handed on as it is."""
    if sent.asks_for_apps:
        raise NeverTaken(
            403, "app", f"what goes to {topic} cannot be checked for its app yet: use a key for all apps"
        )
    return Verdict([RecordToSend(topic, None, body, headers=sent.headers)], accepted=1)
