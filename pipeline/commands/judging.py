"""Documents as they would be sent now: the records that they are, and what is wrong or doubtful with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.commands.documents import DocumentLine, documents
from pipeline.commands.failure import CommandFailed
from pipeline.commands.refused import Judged, RefusedOnArrival
from pipeline.domain.policy import Policies
from pipeline.formats import native, registry
from pipeline.formats.format import Format
from pipeline.formats.native.array import elements_of, is_array
from pipeline.formats.native.doubts import Doubt, Doubtful, doubts_of, misnamed, slips_of
from pipeline.formats.options import Options
from pipeline.formats.record_time import header_of, recorded_ms
from pipeline.formats.rejected import Rejected
from pipeline.kafka.produce import RecordToSend

_REMEMBERED_DEVICES = 100_000
"""Of which it is known since when they have their session id; then all are forgotten, and some faults not found."""
_HOUR_MS = 3_600_000


class Finding(NamedTuple):
    """One thing to say of a document."""

    file: str
    line: int
    is_refused: bool
    """Else it is a warning: it is taken."""
    reason: str
    """The decoder's reason, or a doubt."""
    path: str
    """Place in the document; of a foreign format's warnings, in the native envelope that it becomes."""
    event_id: str
    detail: str


def formats_of(name: str) -> Sequence[Format]:
    """The formats of a name. Raises `CommandFailed`."""
    alike = registry.of_name(name)
    if not alike:
        raise CommandFailed(f"{name} is not a known format: use one of {', '.join(registry.names())}")
    return alike


def documents_of(name: str, alike: Sequence[Format]) -> Iterator[DocumentLine]:
    """The documents of a file of some formats, each as a record has it. Raises `CommandFailed`.

    An array of native envelopes is as many of them as it has, as over HTTP; what cannot be taken apart is one.
    """
    is_native = native.FORMAT in alike or native.ANY_KEY in alike
    for line in documents(name):
        envelopes = elements_of(line.document) if is_native and is_array(line.document) else None
        if envelopes is None or isinstance(envelopes, Rejected):
            yield line
        else:
            yield from (line._replace(document=each) for each in envelopes)


def record_of(
    line: DocumentLine, alike: Sequence[Format], now_ms: int, live: bool
) -> tuple[RecordToSend, Format, int]:
    """The record that `send` makes of a document, its format, and its record time: when it was sent, if that is long
    ago and it is not `live`."""
    known = registry.of_document(alike, line.document)
    # Under the name without its folder, so that a file gives the same keys wherever it lies.
    key = known.key_of(line.document, Path(line.file).name)
    came_ms = None if live else recorded_ms(known.sent_at_of(line.document), now_ms)
    value, own = known.unwrapped(line.document)
    headers = (*own, *(() if came_ms is None else header_of(came_ms)))
    record = RecordToSend(known.topic, key, value, headers=headers)
    return record, known, now_ms if came_ms is None else came_ms


@dataclass(slots=True)
class Judge:
    """Judges one document after the other, in bounded memory."""

    policies: Policies
    options: Options
    refused: RefusedOnArrival = field(init=False)
    records: int = 0
    events: int = 0
    """That are taken."""
    doubts_records: int = -1
    """Of how many documents it is said what is doubtful; -1: of all."""
    _session_ids: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refused = RefusedOnArrival(self.options)

    def judge(
        self, line: DocumentLine, record: RecordToSend, known: Format, record_ms: int
    ) -> Iterator[Finding]:
        """What is to be said of a document, what is refused of it first."""
        self.records += 1
        judged = self.refused.count(known, record, record_ms)
        for fault in _faults(judged):
            yield Finding(line.file, line.number, True, fault.reason.value, fault.path, "", fault.detail)
        for doubt in self._doubts(line, known, judged, record_ms):
            reason = doubt.doubt.value
            yield Finding(line.file, line.number, False, reason, doubt.path, doubt.event_id, doubt.detail)

    def _doubts(
        self, line: DocumentLine, known: Format, judged: Judged, record_ms: int
    ) -> Iterator[Doubtful]:
        if isinstance(judged, Rejected) or self.records > self.doubts_records >= 0:
            return
        if isinstance(judged, native.Envelope):
            envelopes = [judged]
        else:
            read = (native.decode(each.value, each.key, record_ms) for each in judged.records)
            envelopes = [each for each in read if isinstance(each, native.Envelope)]
        for envelope in envelopes:
            self.events += len(envelope.events)
            yield from doubts_of(envelope)
            yield from self._endless(envelope)
        if isinstance(judged, native.Envelope) or known is native.ANY_KEY:
            yield from slips_of(line.document)
            for envelope in envelopes:
                yield from misnamed(envelope)

    def _endless(self, envelope: native.Envelope) -> Iterator[Doubtful]:
        """Whether a device has had its session id for longer than a session may last."""
        device = envelope.app_id, envelope.device_id
        most_ms = self.policies.of(envelope.app_id).max_duration_ms
        for event in envelope.events:
            session_id, since_ms = self._session_ids.get(device, ("", 0))
            if event.client_session_id != session_id:
                if len(self._session_ids) >= _REMEMBERED_DEVICES:
                    self._session_ids.clear()
                self._session_ids[device] = event.client_session_id, event.time_ms
            elif session_id and 0 <= most_ms < event.time_ms - since_ms:
                said = (
                    f"{session_id!r} for {(event.time_ms - since_ms) // _HOUR_MS} h, longer than max_duration"
                )
                yield Doubtful(Doubt.ENDLESS_SESSION_ID, "events[].session_id", said, event.id)
                # Once a device, until it changes: the next is told if it stays for ever from here.
                self._session_ids[device] = session_id, event.time_ms


def _faults(judged: Judged) -> Sequence[Rejected]:
    return [judged] if isinstance(judged, Rejected) else judged.refused
