"""What the topic `embrace-events` takes: envelopes of Embrace's SDKs for Android and Apple, and OTLP, as JSON of its
SDK for browsers and as protobuf of its exporters, for a producer that puts on one topic whatever comes to `/v2/spans`
and `/v2/logs`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipeline.formats import embrace, otlp
from pipeline.formats.embrace.sender import APP_HEADER, DEVICE_HEADER, identity_of
from pipeline.formats.format import NOTHING_BESIDE, Beside, Cleans, Format
from pipeline.formats.otlp.decode import is_protobuf
from pipeline.formats.otlp.message import SPANS
from pipeline.formats.otlp.told_apart import signal_of
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation

_BLOCKS = (
    (b'"resourceSpans"', otlp.SPANS),
    (b'"resource_spans"', otlp.SPANS),
    (b'"resourceLogs"', otlp.LOGS),
    (b'"resource_logs"', otlp.LOGS),
)
"""A member of a message in JSON."""


def _translate(
    value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
) -> Translation | Rejected:
    """As the format that the record is of has it, and by the same headers or key."""
    found = _otlp_in(value) if value else None
    if found is None or found.translate is None:
        return embrace.decode(value, record_ms, beside)
    return found.translate(value, record_ms, _as_headers(beside))


def _apps_of(value: bytes, beside: Beside) -> Iterable[str]:
    found = _otlp_in(value)
    return (
        embrace.FORMAT.apps_of(value, beside) if found is None else found.apps_of(value, _as_headers(beside))
    )


def _as_headers(beside: Beside) -> Beside:
    """What headers or key say, as headers, which is where OTLP looks."""
    app, device = identity_of(beside.headers, beside.key)
    headers = [(name, said.encode()) for name, said in ((APP_HEADER, app), (DEVICE_HEADER, device)) if said]
    return Beside(headers, beside.options)


def _otlp_in(value: bytes) -> Format | None:
    """The format of OTLP that a record is of; None for none."""
    if is_protobuf(value):
        signal = signal_of(value)
        if signal is not None or value.lstrip()[:1] != b"{":
            return otlp.SPANS if signal is SPANS else otlp.LOGS
    return next((found for name, found in _BLOCKS if name in value and found.holds(value)), None)


def _cleaned(value: bytes, cleans: Cleans) -> bytes | None:
    if is_protobuf(value) and (found := _otlp_in(value)) is not None:
        return found.cleaned(value, cleans)
    return cleans.json(value)


FORMAT = replace(embrace.FORMAT, translate=_translate, apps_of=_apps_of, cleaned=_cleaned)
