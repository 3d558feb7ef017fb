"""Events to native envelopes: by device, by size and by age. Knows no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.formats import native
from pipeline.formats.limits import MAX_EVENTS
from pipeline.formats.translation import too_large
from pipeline.sdk.box import Item
from pipeline.sdk.device import SdkDevice
from pipeline.sdk.outcome import SendFailure, refused

Faulty = tuple[Item, SendFailure]


@dataclass(slots=True)
class Bundle:
    """Events of one device for one envelope, in the order in which they were taken."""

    device: SdkDevice
    items: list[Item] = field(default_factory=list)
    size: int = 0
    """Bytes of the events with the commas between them."""
    attempts: int = 0
    """How often it was sent."""
    has_outcome: bool = False

    def envelope(self, sent_at_ms: int) -> bytes:
        """The native envelope, sent at this Unix time in milliseconds."""
        return self.device.envelope([item.payload for item in self.items], sent_at_ms)


class Packer:
    """Gathers events until their envelope is full, or the first of them has waited for long enough."""

    def __init__(self, linger_s: float, max_events: int, max_bytes: int) -> None:
        self._linger_s = linger_s
        self._max_events = min(max_events, MAX_EVENTS)
        self._max_bytes = max_bytes
        self._open: dict[bytes, Bundle] = {}
        """By what their envelopes begin with, oldest first: two objects may be one device."""

    def add(self, items: Iterable[Item]) -> Iterator[Bundle]:
        """Takes events; gives the envelopes that are full by them."""
        for item in items:
            device, size = item.device, len(item.payload)
            head = device.head
            most = min(self._max_bytes, device.room)
            bundle = self._open.get(head)
            if bundle is not None and bundle.size + 1 + size > most:
                yield self._open.pop(head)
                bundle = None
            if bundle is None:
                bundle = self._open[head] = Bundle(device)
            bundle.size += size + bool(bundle.items)
            bundle.items.append(item)
            if len(bundle.items) >= self._max_events or bundle.size >= most:
                yield self._open.pop(head)

    def due(self, now_s: float) -> Iterator[Bundle]:
        """The envelopes whose first event has waited for long enough by now."""
        while self._open:
            head, bundle = next(iter(self._open.items()))
            if bundle.items[0].taken_s + self._linger_s > now_s:
                return
            yield self._open.pop(head)

    def rest(self) -> list[Bundle]:
        """All that is left."""
        rest = list(self._open.values())
        self._open.clear()
        return rest

    @property
    def next_due_s(self) -> float | None:
        """When there is something due, if nothing comes before."""
        for bundle in self._open.values():
            return bundle.items[0].taken_s + self._linger_s
        return None


def checked(bundle: Bundle, now_ms: int) -> tuple[list[Bundle], list[Faulty]]:
    """What of it the decoder takes, as envelopes that it takes whole; and the events that it refuses, each with the
    reason that it has in an envelope alone. `now_ms` is when it would be sent and arrive."""
    device = bundle.device
    if len(bundle.items) == 1 and bundle.size > device.room:
        (item,) = bundle.items
        return [], [(item, refused(too_large(0, bundle.size, device.room), device, item.payload))]
    judged = native.decode(bundle.envelope(now_ms), device.key, now_ms)
    if isinstance(judged, native.Envelope):
        if not judged.refused:
            return [bundle], []
        bad = {fault.event_index for fault in judged.refused}
        some = [item for index, item in enumerate(bundle.items) if index not in bad]
        if not some and len(bundle.items) == 1:
            return [], [(bundle.items[0], refused(judged.refused[0], device, bundle.items[0].payload))]
        # Times are moved by the latest of all, so what is refused in company may be right alone.
        cuts = [[item] for index, item in enumerate(bundle.items) if index in bad]
        return _each_checked(device, [some, *cuts] if some else cuts, now_ms)
    if len(bundle.items) == 1:
        return [], [(bundle.items[0], refused(judged, device, bundle.items[0].payload))]
    # The envelope has a fault that no event has by itself, or that one of them has for all.
    half = len(bundle.items) // 2
    return _each_checked(device, [bundle.items[:half], bundle.items[half:]], now_ms)


def _each_checked(
    device: SdkDevice, cuts: Iterable[Sequence[Item]], now_ms: int
) -> tuple[list[Bundle], list[Faulty]]:
    sound: list[Bundle] = []
    faulty: list[Faulty] = []
    for items in cuts:
        size = sum(len(item.payload) + 1 for item in items) - 1
        some, others = checked(Bundle(device, list(items), size), now_ms)
        sound += some
        faulty += others
    return sound, faulty
