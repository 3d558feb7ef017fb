"""Bodies of Faro: `{meta, events[], logs[], exceptions[], measurements[], traces}`, all of one `meta`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.formats.checks import rejected_time, time_is_plausible
from pipeline.formats.cut_out import with_parts
from pipeline.formats.faro.cut import FaroSource, cut_out
from pipeline.formats.faro.items import Item, event, exception, log, measurement
from pipeline.formats.faro.meta import FaroMeta, app_of_meta, read_meta
from pipeline.formats.faro.traces import TRACES, span_steps
from pipeline.formats.format import NOTHING_BESIDE, Beside
from pipeline.formats.hashed_ids import hashed_id
from pipeline.formats.kept_header import KeptHeader
from pipeline.formats.limits import MAX_BODY_BYTES, MAX_BODY_EVENTS, MAX_NESTING
from pipeline.formats.listed import Listed, translation_of
from pipeline.formats.mending import Read, read_json, repairs_of
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.rfc3339 import unix_time
from pipeline.formats.translation import Draft, Translation


class _Kind(NamedTuple):
    """One of a body's lists."""

    read: Callable[[Mapping[str, Any]], Item]
    named_by: str
    """The field that says which of its kind an item is, a text that is not empty; empty itself where there is none."""


_LISTS: dict[str, _Kind] = {
    "events": _Kind(event, "name"),
    "logs": _Kind(log, ""),
    "exceptions": _Kind(exception, ""),
    "measurements": _Kind(measurement, "type"),
}
_TIME_FIELD = "timestamp"
SESSION_HEADER = KeptHeader("x-faro-session-id")
"""The session that a request named, where there is one."""


def translate(
    value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
) -> Translation | Rejected:
    """Translate one body; `record_ms` is the broker's record time, Unix milliseconds.

    One bad item does not condemn its body: it is in `refused`, under its running index over events, logs, exceptions,
    measurements and what comes of spans. A fault of `meta` refuses the body. Never raises because of the body; does
    not block.
    """
    # The fields of an item move one level down, into the native attributes.
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING - 1)
    if isinstance(read, Rejected):
        return read
    lists = _lists_of(read.tree)
    if isinstance(lists, Rejected):
        return lists
    meta = read_meta(read.tree.get("meta"), SESSION_HEADER.told(beside), beside.options)
    if isinstance(meta, Rejected):
        return meta
    refused: list[Rejected] = []
    drafts: list[Draft] = []
    places: list[Listed] = []
    sources: list[FaroSource] = []
    for name, items in lists.items():
        for draft in _drafts(read, name, items, len(places), meta, record_ms):
            if isinstance(draft, Rejected):
                refused.append(draft)
            else:
                drafts.append(draft)
        places += [Listed(f"{name}[{at}]", _TIME_FIELD) for at in range(len(items))]
        sources += [(name, item) for item in items]
    for step in span_steps(read, meta, len(places), record_ms):
        if len(places) == MAX_BODY_EVENTS:
            return Rejected(
                Reason.TOO_MANY_EVENTS, f"traces: more than {MAX_BODY_EVENTS} events with what spans say"
            )
        places.append(step.listed)
        sources.append((TRACES, step.source))
        if isinstance(step.outcome, Rejected):
            refused.append(step.outcome)
        else:
            drafts.append(step.outcome)
    made = translation_of(drafts, refused, record_ms, places)
    return with_parts(made, lambda some: cut_out(read.tree, sources, some))


def apps_of(value: bytes, beside: Beside) -> Sequence[str]:
    """The app that a body names; none where it cannot be read."""
    read = read_json(value, MAX_BODY_BYTES, MAX_NESTING - 1)
    return () if isinstance(read, Rejected) else (app_of_meta(read.tree.get("meta")),)


def _lists_of(tree: Mapping[str, Any]) -> dict[str, list[Any]] | Rejected:
    lists: dict[str, list[Any]] = {}
    for name in _LISTS:
        items = tree.get(name)
        if items is not None and not isinstance(items, list):
            return Rejected(Reason.INVALID_TYPE, f"{name}: an array")
        lists[name] = items or []
    count = sum(map(len, lists.values()))
    if not count and not tree.get("traces"):
        return Rejected(Reason.NO_EVENTS, "events, logs, exceptions, measurements: at least one of them")
    if count > MAX_BODY_EVENTS:
        return Rejected(Reason.TOO_MANY_EVENTS, f"events: at most {MAX_BODY_EVENTS} events, not {count}")
    return lists


def _drafts(
    read: Read, name: str, items: list[Any], first: int, meta: FaroMeta, record_ms: int
) -> Iterator[Draft | Rejected]:
    """Each item of a list, read; `first` is the running index of its first."""
    repairs = repairs_of(read, head=("meta",), fields=None, listed=name)
    for at, item in enumerate(items):
        draft = _draft(_LISTS[name], item, f"{name}[{at}]", first + at, meta, record_ms)
        if repairs and isinstance(draft, Draft) and (mended := repairs.of(at)):
            draft.event["repaired"] = mended
        yield draft


def _draft(kind: _Kind, item: Any, path: str, index: int, meta: FaroMeta, record_ms: int) -> Draft | Rejected:
    fault = _fault_of(kind, item, path, index)
    if fault is not None:
        return fault
    moment = unix_time(item[_TIME_FIELD])
    if moment is None:
        return Rejected(
            Reason.INVALID_VALUE,
            f"{path}.{_TIME_FIELD}: RFC 3339 with Z or an offset, as 2025-03-22T16:34:55.159Z",
            index,
        )
    time_ms, seq = moment
    if not time_is_plausible(time_ms, record_ms):
        return rejected_time(time_ms, record_ms, f"{path}.{_TIME_FIELD}", index)
    name, attributes = kind.read(item)
    if name == "session.start" and meta.previous_session_id:
        attributes["session.previous_id"] = meta.previous_session_id
    meta.add_to(attributes)
    native: dict[str, Any] = {"id": _id_of(kind, item, path, meta, time_ms * 1_000_000 + seq)}
    native |= {"name": name, "time": time_ms}
    if seq:
        native["seq"] = seq
    if meta.client_session_id:
        native["session_id"] = meta.client_session_id
    native["attributes"] = attributes
    return Draft(index, meta.sender, time_ms, native)


def _fault_of(kind: _Kind, item: Any, path: str, index: int) -> Rejected | None:
    if not isinstance(item, dict):
        return Rejected(Reason.INVALID_TYPE, f"{path}: an object", index)
    for field, meaning in ((kind.named_by, "a string"), (_TIME_FIELD, "a string, RFC 3339")):
        if not field:
            continue
        if item.get(field) is None:
            return Rejected(Reason.MISSING_FIELD, f"{path}.{field}: required, {meaning}", index)
        if not isinstance(item[field], str):
            return Rejected(Reason.INVALID_TYPE, f"{path}.{field}: {meaning}", index)
        if not item[field]:
            return Rejected(Reason.INVALID_VALUE, f"{path}.{field}: not empty", index)
    return None


def _id_of(kind: _Kind, item: Mapping[str, Any], path: str, meta: FaroMeta, time_ns: int) -> str:
    """Faro gives no ids. Of `meta` only whose it is has a say: the page may be another when it is sent again."""
    sender = meta.sender
    return hashed_id(
        sender.app_id,
        sender.device_id,
        time_ns,
        f"{path.partition('[')[0]}:{item[kind.named_by] if kind.named_by else ''}",
        client_session_id=meta.session_id,
        attributes={key: value for key, value in item.items() if key != _TIME_FIELD},
    )
