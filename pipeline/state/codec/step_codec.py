"""What came for a device since its state was last written whole: the input of each step, for folding again.

A value has a state's head (`HEAD`, flagged as steps, with the applied offset of the base it builds on; -1 if the
device has none yet), then one MessagePack array: the policy that the steps were folded under, then the steps. A step
is added by writing it behind the others; nothing before it is touched. Behind the numbers of a published policy
stands its version: what held before it is in the partition's own entry (`state.policy_versions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline.domain.policy import NUMBERS, DatedPolicy, Policy
from pipeline.formats.native.events import Arrival
from pipeline.state.codec.state_head import HEAD, head_of
from pipeline.state.codec.state_v3 import VERSION
from pipeline.state.device_state import DeviceState
from pipeline.state.tail import ARRAY_HEAD_BYTES, Strings, TailEntry, array_head, events_of, rows_of

_BODY_AT = HEAD.size + ARRAY_HEAD_BYTES


class _Step(msgspec.Struct, array_like=True, gc=False):
    texts: list[str]
    """New ones, numbered on from those that base and earlier steps have."""
    records: list[tuple[int, int, list[TailEntry]]]
    corrected_ms: int | None = None
    """Of the state after it; absent in what a program wrote that did not know of it."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_step = msgspec.msgpack.Decoder(_Step).decode
_decode_policy = msgspec.msgpack.Decoder(tuple[int, ...]).decode


class Steps(NamedTuple):
    """What `decode` gives."""

    policy: Policy
    version: int
    """Of the policies that were published; 0: they are those of settings."""
    records: list[list[Arrival]]
    corrected_ms: int
    """Of the state after them, if that before them has nothing later."""


def encode_step(records: Sequence[Arrival], strings: Strings, corrected_ms: int) -> bytes:
    """One step; texts that are new get numbers. `corrected_ms` is that of the state after it."""
    known = len(strings)
    rows = [(offset, record_ms, rows_of(events, strings)) for offset, record_ms, events in records]
    return _encode(([] if len(strings) == known else list(strings)[known:], rows, corrected_ms))


def encode_policy(policy: Policy, version: int = 0) -> bytes:
    """A policy as `added` wants it, of a version that was published, if it was."""
    numbers = _numbers(policy)
    return _encode([*numbers, version] if version else numbers)


def encode_versions(policy: Policy) -> bytes:
    """What the compiled core gets behind an encoded policy: the versions that were published, the oldest first, and
    before them what holds before the first. Nothing if none was."""
    versions: list[Any] = []
    while isinstance(policy, DatedPolicy):
        versions.append((policy.version, policy.from_ms, policy.came_at, _numbers(policy)))
        policy = policy.before or Policy()
    return _encode([_numbers(policy), *reversed(versions)]) if versions else b""


def _numbers(policy: Policy) -> list[int]:
    return [getattr(policy, name) for name in NUMBERS]


def added(value: bytes | None, step: bytes, policy: bytes, state: DeviceState, base_offset: int) -> bytes:
    """The value with one more step; None: the first. `state` is the one after the step."""
    head = head_of(state, VERSION, base_offset)
    if value is None:
        return b"".join((head, array_head(2), policy, step))
    count = int.from_bytes(value[_BODY_AT - 4 : _BODY_AT])
    return b"".join((head, array_head(count + 1), value[_BODY_AT:], step))


def folded_under(value: bytes, policy: bytes) -> bool:
    """Whether the steps of a value were folded under this policy."""
    return value.startswith(policy, _BODY_AT)


def decode(value: bytes, strings: Strings) -> Steps:
    """The policy's numbers and version, and the steps; `strings` are those of the base, and get the new texts.

    Raises `msgspec.DecodeError` for a damaged value.
    """
    try:
        policy, *steps = _decode(memoryview(value)[HEAD.size :])
        found = [_decode_step(step) for step in steps]
        records = [_step(step, strings) for step in found]
        numbers = _decode_policy(policy)
        version = numbers[len(NUMBERS)] if len(numbers) > len(NUMBERS) else 0
        return Steps(
            Policy(*numbers[: len(NUMBERS)]), version, records, max(map(_corrected_ms, found), default=0)
        )
    except (LookupError, ValueError, TypeError) as fault:
        raise msgspec.DecodeError(f"damaged steps: {fault}") from fault


def _corrected_ms(step: _Step) -> int:
    if step.corrected_ms is not None:
        return step.corrected_ms
    return max((row[0] for _, _, rows in step.records for row in rows), default=0)


def _step(step: _Step, strings: Strings) -> list[Arrival]:
    for text in step.texts:
        strings[text]
    texts = list(strings)
    return [(offset, record_ms, events_of(rows, texts)) for offset, record_ms, rows in step.records]
