"""Target: Embrace's envelopes. The first byte of an input chooses record time, headers and key."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pipeline.formats import embrace, native
from pipeline.formats.format import Beside
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.rejected import Rejected
from tests.fuzz.records import RECORD_TIMES_MS, Records, check_dead_letters, check_envelope
from tests.fuzz.target import Seen, check_rejected, require
from tests.fuzz.vocabulary import NOW_MS
from tests.support.replaying import check_replayed

KEYS: tuple[str, ...] = (
    "data",
    "spans",
    "span_snapshots",
    "logs",
    "resource",
    "metadata",
    "attributes",
    "key",
    "value",
    "events",
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "status",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "time_unix_nano",
    "timestamp",
    "severity_number",
    "severity_text",
    "body",
    "user_id",
    "username",
    "email",
    "personas",
    "locale",
    "app_ecosystem_id",
    "app_bundle_id",
    "app_version",
    "os_name",
    "os_alternate_type",
    "build",
    "sdk_platform",
    "unknown",
)
VALUES: tuple[object, ...] = (
    "emb.type",
    "emb.state",
    "emb.cold_start",
    "emb.session_part_id",
    "session.id",
    "emb.crash_id",
    "emb.terminated",
    "emb.clean_exit",
    "emb.session_end_type",
    "emb.heartbeat_time_unix_nano",
    "emb.user_session_termination_reason",
    "emb.private",
    "emb.payload",
    "log.record.uid",
    "aei_session_part_id",
    "timestamp",
    "reason",
    "process_importance",
    "view.name",
    "tap.coords",
    "http.response.status_code",
    "fatal",
    "passive",
    "app.state",
    "ux.session",
    "ux.session_part",
    "ux.view",
    "ux.tap",
    "perf.network_request",
    "perf",
    "state",
    "sys.log",
    "sys.exit",
    "sys.exception",
    "sys.android.crash",
    "sys.ios.crash",
    "sys.ios.react_native_crash",
    "sys.low_power",
    "foreground",
    "background",
    "true",
    "false",
    "null",
    "manual",
    "crash",
    "max_duration_reached",
    "Error",
    "web",
    "ios",
    "1,2",
    "6",
    "400",
    17,
    True,
    NOW_MS * 1_000_000,
    str(NOW_MS * 1_000_000),
    (NOW_MS + 60_001) * 1_000_000,
    NOW_MS,
    '{"crash":{"error":{"type":"termination","termination_reason":"memory_limit"}}}',
)
_HEADERS = (
    ((("X-EM-AID", b"abc12"), ("X-EM-DID", b"device")), None),
    ((("x-em-did", b"\xff\xed\xa0\x80"), ("X-EM-AID", b"a/b")), b"app/other"),
    ((), b"app/device"),
    ((("X-EM-DID", b""),), b"\0/\xff"),
)


class EmbraceTarget(Records):
    """The router's records are never refused; what is refused has a place; the same input gives the same."""

    def __init__(self) -> None:
        super().__init__("embrace", KEYS, VALUES)

    def prepared(self, data: bytes) -> Callable[[], object]:
        return functools.partial(embrace.decode, *self._input(data))

    def check(self, data: bytes) -> Seen:
        value, record_ms, beside = self._input(data)
        outcome = embrace.decode(value, record_ms, beside)
        require(
            outcome == embrace.decode(value, record_ms, beside), "the same input gives the same envelopes"
        )
        kept = embrace.FORMAT.kept_key_of(beside.headers, beside.key)
        again = embrace.decode(value, record_ms, Beside((), beside.options, kept))
        if isinstance(outcome, Rejected):
            require(outcome.event_index is None, "a refused envelope names no part")
            require(isinstance(again, Rejected), "replayed without headers it is refused too")
            check_dead_letters([outcome], kept, value, record_ms)
            return Seen(False, check_rejected(outcome))
        require(again == outcome, "replayed without headers it comes to the same")
        indexes = [each.event_index for each in outcome.refused]
        require(
            None not in indexes and indexes == sorted(i or 0 for i in indexes), "parts are refused in order"
        )
        meanings: set[tuple[int, int]] = set()
        for record in outcome.records:
            require(len(record.value) <= MAX_RECORD_BYTES, "a record is no larger than one may be")
            envelope = native.decode(record.value, record.key, record_ms)
            require(isinstance(envelope, native.Envelope), f"the router's records are accepted: {envelope}")
            assert isinstance(envelope, native.Envelope)
            require(not envelope.refused, f"the router's events are accepted: {envelope.refused[:1]}")
            meanings |= {(event.kind, event.counters) for event in envelope.events}
            check_envelope(envelope, record.key, record_ms)
        check_dead_letters(outcome.refused, kept, value, record_ms)
        if outcome.refused:
            check_replayed(embrace.FORMAT, value, record_ms, beside)
        shape = frozenset(check_rejected(each) for each in outcome.refused)
        return Seen(bool(outcome.records), (shape, frozenset(meanings), min(len(outcome.records), 3)))

    @staticmethod
    def _input(data: bytes) -> tuple[bytes, int, Beside]:
        choice = data[0] if data else 0
        headers, key = _HEADERS[choice >> 3 & 3]
        return data[1:], RECORD_TIMES_MS[choice & 7], Beside(headers, key=key)
