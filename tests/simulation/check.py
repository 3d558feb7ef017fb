"""What must hold once a run is quiet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline import topics
from pipeline.domain.event import Event
from pipeline.domain.fold import sessions as fold
from pipeline.domain.policy import Policy
from pipeline.formats import native
from pipeline.formats.edge import events_in
from pipeline.formats.record_time import sampled_out_of
from pipeline.formats.registry import of_topic, routed_topics
from pipeline.formats.rejected import Reason, Rejected
from pipeline.state.outbox import split_key
from pipeline.state.partition import Partition
from pipeline.storage import stored_event
from pipeline.storage.dead_letter import dead_letters_of, let_in
from tests.simulation.clickhouse import NOT_STORABLE
from tests.simulation.lives import Lives
from tests.simulation.process import SessionizerProcess, changelog
from tests.simulation.rebuild import stored_line, take_copies_back
from tests.simulation.traffic import DAY_MS
from tests.simulation.world import World
from tests.support.expected_rows import Device, Row, as_row, session_rows
from tests.support.oracle import drop_duplicates, oracle_session_id
from tests.support.session_dicts import session_dict

Name = tuple[str, str, str]
"""App, device and id of an event."""
Place = tuple[int, int, int]
"""Partition, offset as it is stored, index."""
_TIMES = ("started_at", "ended_at")
_LEFT_OUT = (
    "last_event_at",
    "arrived_at",
    "revision",
    "partition",
    "offset",
    "is_deleted",
    "is_final",
    "stored_on",
    "retention_days",
    "first_event_id",
    "sample_rate",
)


def problems(world: World) -> Iterator[str]:
    """What is wrong with the outcome of a run, in words."""
    yield from world.violations
    truth = _Truth(world)
    found, expected = _stored_sessions(world), truth.sessions()
    found = {
        session_id: row
        for session_id, row in found.items()
        if not truth.is_open_to_chance((row["app_id"], row["device_id"]))
    }
    for twin in truth.twins:
        found.pop(twin, None)
        expected.pop(twin, None)
    yield from _differences("session", found, expected)
    yield from _not_final(world, truth)
    yield from _badly_scaled(world)
    yield from _contradictions(world, truth)
    yield from _differences("event", _stored_events(world, truth), truth.events())
    yield from _differences("ledger", _ledger(world), truth.ledger)
    yield from _differences("dead letter", _dead_letters(world), truth.dead_letters)
    yield from _unbalanced(world, truth)
    yield from _not_recoverable(world)
    take_copies_back(world)
    yield from _differences(
        "event after a rebuild", _stored_events(world, truth, rebuilt=True), truth.events_rebuilt()
    )
    yield from _rebuilt(world, truth)


def rows_checked(world: World) -> int:
    """How many rows `problems` compared."""
    return sum(len(table.rows) for table in world.site.server.tables.values())


class _Truth:
    """What must come out, from the logs of the input alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._set_aside = {split_key(key) for _, key in world.set_aside}
        self._dead_letters_found = _dead_letters(world)
        self._stored_at = {
            (row["partition"], row["offset"], row["event_index"])
            for row in world.site.server.tables["z_event_feed"].final()
        }
        self.stored: dict[Device, list[Event]] = {}
        """What came to the sink."""
        self.folded: dict[Device, list[Event]] = {}
        """What came to the sessionizer."""
        self.versions: dict[Device, set[int]] = {}
        """The versions of the policies that a device was folded under."""
        self.records: dict[Device, list[tuple[int, list[Event]]]] = {}
        """The same, each record with the time of its partition when it came."""
        self.copies: dict[Name, list[Row]] = {}
        """The storable copies of each event, in the order in which they came: where, and the day of the stamp."""
        self.unstored: set[Name] = set()
        """Events of which the sink did not store a copy that the sessionizer may have had: it could not, or the record
        was deleted before. What becomes of other copies depends on their stamps."""
        self.perhaps_told: set[Name] = set()
        """Events of records that the sessionizer lost. One that was killed before its state was durable may have told
        of the copies among them."""
        self._places: dict[int, Place] = {}
        """Of the very objects in `records`: where each came."""
        self.ledger: dict[Any, Row] = {}
        self.dead_letters: dict[Any, Row] = {}
        self.twins: set[str] = set()
        """Ids that two sessions may have, since an SDK sent an old event again: with another time and beyond the
        horizon, or after its device was forgotten. Which of the two is shown is open until a rebuild."""
        self.ended: set[str] = set()
        """Ids of sessions of devices that have been forgotten since."""
        self._base = 0
        """From which offsets are counted now."""
        for era in world.eras:
            self._base = era.base
            for number, records in enumerate(era.records):
                for record in records:
                    # After a rebuild sessions are those of what was stored.
                    self._take(number, record, record.timestamp, lost=(number, record.offset) in era.lost)
        self._base = world.site.offset_base
        for number, log in enumerate(world.site.broker.logs(topics.SDK_EVENTS)):
            clock_ms = 0
            for record in log.everything():
                if (number, record.offset) not in world.lost["sessionizer"]:
                    clock_ms = max(clock_ms, record.timestamp)
                    self._fold(number, record, clock_ms)
                else:
                    self.perhaps_told |= _names(world.read(number, record))
                if (number, record.offset) not in world.lost["sink"]:
                    self._store(number, record)
                else:
                    self._note_lost(number, record)
                    # A sink that ended before its ledger row was there may have told of it.
                    self._refuse_perhaps(topics.SDK_EVENTS, number, record, _faults(world, number, record))
        for topic in routed_topics():
            for number, log in enumerate(world.site.broker.logs(topic)):
                for record in log.everything():
                    self._route(topic, number, record)

    def _route(self, topic: str, number: int, record: Any) -> None:
        """What the router refuses of a record."""
        begins_at, base = self._world.counted_anew.get((topic, number), (0, 0))
        translate = of_topic(topic).translate
        assert translate is not None
        translated = translate(record.value, record.timestamp)
        faults = [translated] if isinstance(translated, Rejected) else translated.refused
        if record.offset < begins_at:
            self._base = 0
            self._refuse(topic, number, record, faults)
            # A router whose offsets were forgotten reads it again, and counts from the base then.
            self._base = base
            self._refuse_perhaps(topic, number, record, faults)
        else:
            self._base = base
            self._refuse(topic, number, record, faults)

    def _take(self, number: int, record: Any, clock_ms: int, *, lost: bool) -> None:
        """A record of a topic that is no more. Of one that was lost some events may have been stored all the same."""
        if not lost:
            self._fold(number, record, clock_ms)
            self._store(number, record)
            return
        place = number, record.offset + self._base
        decoded = self._world.read(number, record)
        self._note_lost(number, record)
        self._refuse_perhaps(topics.SDK_EVENTS, number, record, _faults(self._world, number, record))
        if isinstance(decoded, native.Envelope):
            device = decoded.app_id, decoded.device_id
            for index, event in enumerate(native.to_events(decoded)):
                if (*place, index) in self._stored_at:
                    self.stored.setdefault(device, []).append(event)
                    self.folded.setdefault(device, []).append(event)
                    self.records.setdefault(device, []).append((clock_ms, [event]))
                    self._places[id(event)] = *place, index
                    self._note_copy(device, _copy(number, place[1], index, decoded.events[index]))

    def _refuse_perhaps(self, topic: str, number: int, record: Any, faults: list[Rejected]) -> None:
        """Dead letters that may be there."""
        known = dict(self.dead_letters)
        self._refuse(topic, number, record, faults)
        self.dead_letters = {
            key: letter
            for key, letter in self.dead_letters.items()
            if key in known or key in self._dead_letters_found
        }

    def _fold(self, number: int, record: Any, clock_ms: int) -> None:
        decoded = self._world.read(number, record)
        if isinstance(decoded, native.Envelope):
            device = decoded.app_id, decoded.device_id
            events = native.to_events(decoded)
            self.folded.setdefault(device, []).extend(events)
            self.records.setdefault(device, []).append((clock_ms, events))
            for index, event in enumerate(events):
                self._places[id(event)] = number, record.offset + self._base, index
            self.versions.setdefault(device, set()).update(
                self._world.folded_under.get((number, record.key), ())
            )

    def _store(self, number: int, record: Any) -> None:
        decoded = self._world.read(number, record)
        if decoded is None:
            count = (record.value is None and sampled_out_of(record.headers)) or events_in(record.value)
            row = {"received": count, "refused": 0, "sampled_out": count}
            self.ledger[topics.SDK_EVENTS, number, record.offset + self._base] = row
            return
        if isinstance(decoded, Rejected):
            received, faults = 1, [decoded]
        else:
            received, faults = len(decoded.events) + len(decoded.refused), list(decoded.refused)
        self._refuse(topics.SDK_EVENTS, number, record, faults)
        refused = len(faults)
        if isinstance(decoded, native.Envelope):
            device = decoded.app_id, decoded.device_id
            self.stored.setdefault(device, []).extend(native.to_events(decoded))
            for index, event in enumerate(decoded.events):
                if NOT_STORABLE in event.attributes:
                    refused += 1
                    self.unstored.add((*device, event.id))
                    key = (topics.SDK_EVENTS, number, record.offset + self._base, index, "not_storable")
                    self.dead_letters[key] = {"key": record.key, "value": None}
                else:
                    self._note_copy(device, _copy(number, record.offset + self._base, index, event))
        self.ledger[topics.SDK_EVENTS, number, record.offset + self._base] = {
            "received": received,
            "refused": refused,
            "sampled_out": 0,
        }

    def _refuse(self, topic: str, number: int, record: Any, faults: list[Rejected]) -> None:
        for refusal in dead_letters_of(
            topic, number, record.offset + self._base,
            record_ms=record.timestamp, key=record.key, value=record.value, faults=faults,
        ):  # fmt: skip
            index = refusal.rejected.event_index
            key = (
                topic,
                number,
                record.offset + self._base,
                -1 if index is None else index,
                str(refusal.rejected.reason),
            )
            value = let_in(refusal, self._world.site.edge).value
            self.dead_letters[key] = {"key": record.key or b"", "value": value or b""}

    def _note_lost(self, number: int, record: Any) -> None:
        self.unstored |= _names(self._world.read(number, record))

    def _note_copy(self, device: Device, copy: Row) -> None:
        self.copies.setdefault((*device, copy["event_id"]), []).append(copy)

    def events_rebuilt(self) -> dict[Any, list[Row]]:
        """One row an event: its first storable copy."""
        return {
            name: copies[:1] for name, copies in self.copies.items() if self.is_decided(name, rebuilt=True)
        }

    def events(self) -> dict[Any, list[Row]]:
        """What is shown of each event before a rebuild.

        "An event's key is app, day of its stamp, device and id; of a key the copy seen first counts; what takes a copy
        back hides it and all that came later under its key." A copy that was seen to be one is taken back.
        """
        seen = {self._places[id(event)] for device in self.records for event in self._seen(device)}
        shown: dict[Any, list[Row]] = {}
        for name, copies in self.copies.items():
            if self.is_decided(name, rebuilt=False):
                first = {copy["day"]: copy for copy in reversed(copies)}
                shown[name] = [copy for copy in first.values() if _place_of(copy) not in seen]
                shown[name].sort(key=_place_of)
        return shown

    def is_decided(self, name: Name, *, rebuilt: bool) -> bool:
        """Whether it is known what is shown of an event. Until a rebuild, how far back ids are remembered depends on
        who folded: the ids of sessions are remembered for longer, and policies make other sessions."""
        if rebuilt:
            return name not in self.unstored
        open_to_chance = not self._world.plan.wide and self.is_open_to_chance(name[:2])
        return name not in self.unstored | self.perhaps_told and not open_to_chance

    def _seen(self, device: Device) -> list[Event]:
        """The events of a device whose id the sessionizer remembered."""
        version = min(self.versions.get(device) or {0})
        lives = Lives(self._world.plan.versions[version].of(device[0]))
        for record in self.records[device]:
            lives.take(record)
        return lives.seen()

    def sessions(self) -> dict[Any, Row]:
        """By the fold where everything is within the horizon; else by the fold of what the horizon lets count."""
        found: dict[Any, Row] = {}
        for device in self.records:
            is_decided = not self.is_open_to_chance(device)
            for version in self.versions.get(device) or {0}:
                policy = self._world.plan.versions[version].of(device[0])
                if not self._world.plan.wide:
                    lives = self._lives(device, policy)
                    rows = [as_row(*device, session) for session in lives.sessions(*device)]
                    self.ended |= lives.ended(*device) if is_decided else set()
                elif is_decided:
                    rows = session_rows({device: self.folded[device]}, policy)
                if is_decided:
                    found.update({row["session_id"]: row for row in rows})
        return found

    def _lives(self, device: Device, policy: Policy) -> Lives:
        lives = Lives(policy)
        for record in self.records[device]:
            lives.take(record)
        self.twins |= {oracle_session_id(*device, event_id) for event_id in lives.ambiguous()}
        return lives

    def is_open_to_chance(self, device: Device) -> bool:
        """Whether workers of several policies had a share in it, or it was set aside. What comes of it depends on who
        had which share: until a rebuild nothing is promised but that every owner and every replay comes to the same.

        So it is, once rebuilt, with a device whose event came first in a record that the sink lost, and again later:
        the sessionizer that had the first had the other taken back, unless it was lost to it too.
        """
        several = len(self.versions.get(device, ())) > 1 or device in self._set_aside
        return several or (self._world.is_rebuilt and device in self._halved())

    def _halved(self) -> set[Device]:
        return {name[:2] for name in self.unstored & self.copies.keys()}


def _faults(world: World, number: int, record: Any) -> list[Rejected]:
    """What is refused of a record of `sdk-events`."""
    decoded = world.read(number, record)
    return [decoded] if isinstance(decoded, Rejected) else list(decoded.refused) if decoded else []


def _names(decoded: native.Envelope | Rejected | None) -> set[Name]:
    """The events of a record; none of one that is refused whole, or sampled out."""
    if not isinstance(decoded, native.Envelope):
        return set()
    return {(decoded.app_id, decoded.device_id, event.id) for event in decoded.events}


def _copy(number: int, offset: int, index: int, event: native.NativeEvent) -> Row:
    return {
        "event_id": event.id,
        "day": event.raw_time_ms // DAY_MS,
        "partition": number,
        "offset": offset,
        "event_index": index,
        "time_ms": event.time_ms,
        "kind": event.kind.label,
    }


def _place_of(copy: Row) -> Place:
    return copy["partition"], copy["offset"], copy["event_index"]


def _session(row: Row) -> Row:
    """A stored row as `expected_rows` writes it."""
    made = {name: value for name, value in row.items() if name not in (*_LEFT_OUT, *_TIMES)}
    for name in _TIMES:
        made[f"{name}_ms"] = round(row[name] * 1_000)
    if made.get("policy_version") == 0:
        # Nobody publishes any here: the oracle has none.
        del made["policy_version"]
    return made


def _stored_sessions(world: World) -> dict[Any, Row]:
    return {row["session_id"]: _session(row) for row in world.site.server.tables["session_rows"].final()}


def _contradictions(world: World, truth: _Truth) -> Iterator[str]:
    """Of what is stored twice under one key and version both say the same, be there workers of several policies."""
    for table in world.site.server.tables.values():
        for row, other in table.contradictions:
            if row.get("session_id") not in truth.twins:
                yield f"{table.name}: of one key and version are\n  {row}\n  {other}"


def _badly_scaled(world: World) -> Iterator[str]:
    """Every session says of how many devices it is one."""
    for row in world.site.server.tables["session_rows"].final():
        rate = world.site.edge.rate_of(row["app_id"])
        if row["sample_rate"] != rate:
            yield f"session {row['session_id']}: its rate is {row['sample_rate']}, not {rate}"


def _not_final(world: World, truth: _Truth) -> Iterator[str]:
    """All that a device had is told as final before it is forgotten."""
    for row in world.site.server.tables["session_rows"].final():
        if row["session_id"] in truth.ended - truth.twins and not row["is_final"]:
            yield f"session {row['session_id']} of a device that is forgotten is not final: {row}"


def _stored_events(world: World, truth: _Truth, *, rebuilt: bool = False) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in world.site.server.tables["z_event_feed"].final():
        name = row["app_id"], row["device_id"], row["event_id"]
        if truth.is_decided(name, rebuilt=rebuilt):
            shown = {
                **{each: row[each] for each in ("event_id", "partition", "offset", "event_index", "kind")},
                "time_ms": round(row["time"] * 1_000),
                "day": round(row["raw_time"] * 1_000) // DAY_MS,
            }
            found.setdefault(name, []).append(shown)
    for rows in found.values():
        rows.sort(key=_place_of)
    return found


def _ledger(world: World) -> dict[Any, Row]:
    return {
        (row["topic"], row["partition"], row["offset"]): {
            "received": row["received"],
            "refused": row["refused"],
            "sampled_out": row["sampled_out"],
        }
        for row in world.site.server.tables["ledger_records"].final()
    }


def _dead_letters(world: World) -> dict[Any, Row]:
    found = {}
    for row in world.site.server.tables["dead_letter_rows"].final():
        key = (row["topic"], row["partition"], row["offset"], row["event_index"], row["reason"])
        if row["reason"] == Reason.DEVICE_SET_ASIDE:
            continue
        value = None if row["reason"] == "not_storable" else row["value"].encode("latin-1")
        found[key] = {"key": row["key"].encode("latin-1"), "value": value}
    return found


def _unbalanced(world: World, truth: _Truth) -> Iterator[str]:
    """received = events + duplicates + refused + sampled out, with the duplicates counted on their own."""
    ledger = _ledger(world)
    received = sum(row["received"] for row in ledger.values())
    refused = sum(row["refused"] for row in ledger.values())
    events = len(world.site.server.tables["z_event_feed"].final())
    sampled_out = sum(row["sampled_out"] for row in ledger.values())
    storable = received - refused - sampled_out
    seen = sum(
        1
        for number, record in _came_to_the_sink(world)
        if isinstance(envelope := world.read(number, record), native.Envelope)
        for event in envelope.events
        if NOT_STORABLE not in event.attributes
    )
    expected = sum(map(len, truth.events().values()))
    undecided = events - sum(map(len, _stored_events(world, truth).values()))
    duplicates = seen - expected - undecided
    if storable != events + duplicates:
        yield f"ledger: {received} received, {events} events, {duplicates} duplicates, {refused} refused"
    yield from _negative(world, ledger)


def _came_to_the_sink(world: World) -> Iterator[tuple[int, Any]]:
    """Partition and record, of those of `sdk-events` that are in the ledger."""
    for era in world.eras:
        for number, records in enumerate(era.records):
            yield from ((number, record) for record in records if (number, record.offset) not in era.lost)
    for number, log in enumerate(world.site.broker.logs(topics.SDK_EVENTS)):
        yield from ((number, r) for r in log.everything() if (number, r.offset) not in world.lost["sink"])


def _negative(world: World, ledger: dict[Any, Row]) -> Iterator[str]:
    """As `status` looks for what was stored under offsets that were in use."""
    duplicates: Counter[tuple[int, int]] = Counter()
    for (_, number, offset), row in ledger.items():
        duplicates[number, offset // 10_000] += row["received"] - row["refused"] - row["sampled_out"]
    # A sink that ended between events and their ledger row would have brought the row, had the topic not gone.
    cut_off = {(number, offset + era.base) for era in world.eras for number, offset in era.lost}
    for row in world.site.server.tables["z_event_feed"].final():
        if (row["partition"], row["offset"]) not in cut_off:
            duplicates[row["partition"], row["offset"] // 10_000] -= 1
    for (number, part), count in duplicates.items():
        if count < 0:
            yield f"ledger: {count} duplicates in partition {number} from offset {part * 10_000} on"


def _rebuilt(world: World, truth: _Truth) -> Iterator[str]:
    """The fold over the events as they are stored is the fold over the events as they came."""
    rows = sorted(
        world.site.server.tables["z_event_feed"].final(),
        key=lambda r: (r["app_id"], r["device_id"], r["offset"], r["event_index"]),
    )
    if any(key[4] == "not_storable" for key in truth.dead_letters):
        return
    policies = world.plan.policies
    found, expected = {}, {}
    for device in stored_event.devices(stored_line(row) for row in rows):
        events = [event for record in device.records for event in record.events]
        name = (device.app_id, device.device_id)
        found[name] = [session_dict(*name, s) for s in fold(*name, events, policies.of(device.app_id))]
    undecided = {name[:2] for name in truth.unstored}
    found = {name: sessions for name, sessions in found.items() if name not in undecided}
    for name, arrived in truth.stored.items():
        if arrived and name not in undecided:
            expected[name] = [
                session_dict(*name, s) for s in fold(*name, drop_duplicates(arrived), policies.of(name[0]))
            ]
    yield from _differences("rebuilt device", found, expected)


def _not_recoverable(world: World) -> Iterator[str]:
    """What the next owner would recover is what this one works with."""
    for process in world.groups["sessionizer"].members:
        assert isinstance(process, SessionizerProcess)
        for number in process.sessionizer.partitions:
            held = process.sessionizer._partitions[number]
            again = Partition(
                number,
                world.plan.versions[process.version],
                partitions=world.plan.partitions,
                offset_base=world.site.offset_base,
            )
            again.restore(changelog(world.site.broker, number))
            if again.marker.source_id in ("", held.marker.source_id):
                # What its topics are known by an owner finds out anew, and writes with the first input.
                known = held.marker
                again.marker = again.marker.of_topics(known.source_id, known.log_id, known.partitions)
            if again.marker != held.marker:
                yield f"partition {number}: recovery would give {again.marker}, in force is {held.marker}"
            if set(held._store) != set(again._store):
                yield f"partition {number}: recovery would give other devices"
                continue
            for key in held._store:
                if held._store.load(key) != again._store.load(key):
                    yield f"partition {number}: recovery would give {key!r} another state"


def _differences(what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> Iterator[str]:
    for key, row in expected.items():
        if key not in found:
            yield f"{what} {key} is missing: {row}"
    for key, row in found.items():
        if key not in expected:
            yield f"{what} {key} must not be there: {row}"
        elif row != expected[key]:
            theirs = expected[key]
            if isinstance(row, dict):
                differs = {
                    n: (row.get(n), theirs.get(n)) for n in {**row, **theirs} if row.get(n) != theirs.get(n)
                }
                yield f"{what} {key} differs, (found, expected): {differs}"
            else:
                yield f"{what} {key} differs: found {row}, expected {theirs}"
