//! The recent events of a device, most of them kept encoded: few inputs need more than the latest one.

use hashbrown::HashSet;

use super::msgpack::{self, DAMAGED, Reader};
use super::strings::Strings;
use crate::domain::Text;
use crate::domain::event::{AppState, Event, Kind};
use crate::domain::event_id::EventId;
use crate::unsure::Sure;

/// In the place of the time of an event that is here: no event has it.
pub const UNTOLD: i64 = -1;
/// Events that are decoded together.
const RUN_EVENTS: usize = 64;
/// Of a tail's ids under one mark that are looked at.
const MOST_ALIKE: usize = 4;
/// Beside all that are there already.
const ROOM_EVENTS: usize = 4;
/// The stated app state stands above the kind.
const STATED: i64 = 16;

/// Where an event stands in the order of its device: time, rank, seq, id.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderKey {
    pub time_ms: i64,
    pub rank: i64,
    pub seq: i64,
    pub id: EventId,
}

impl OrderKey {
    pub fn of(event: &Event) -> Self {
        let rank = i64::from(event.kind.rank());
        Self { time_ms: event.time_ms, rank, seq: event.seq, id: event.id.clone() }
    }

    pub fn is_before(&self, event: &Event) -> bool {
        let rank = i64::from(event.kind.rank());
        (self.time_ms, self.rank, self.seq, self.id.as_bytes())
            < (event.time_ms, rank, event.seq, event.id.as_bytes())
    }
}

/// Four bytes by which an id is looked up before anything is decoded: a checksum.
pub fn mark_of(id: &EventId) -> [u8; 4] {
    crc32fast::hash(id.as_bytes()).to_be_bytes()
}

/// Neighbouring events, encoded.
#[derive(Clone, Debug)]
pub struct Run {
    pub length: usize,
    pub first_ms: i64,
    pub rows: Vec<u8>,
}

impl Run {
    fn events(&self, strings: &Strings) -> Sure<Vec<Event>> {
        let mut reader = Reader::new(&self.rows);
        let mut events = Vec::with_capacity(self.length.min(self.rows.len()));
        for _ in 0..self.length {
            events.push(event_of(&mut reader, strings)?);
        }
        if reader.is_done() { Ok(events) } else { Err(DAMAGED) }
    }
}

/// An event as it is encoded; new texts get the next numbers.
pub fn write_event(out: &mut Vec<u8>, event: &Event, strings: &mut Strings) {
    msgpack::array(out, 9);
    msgpack::int(out, event.time_ms);
    msgpack::int(out, event.kind as i64 + STATED * event.stated as i64);
    msgpack::int(out, event.seq);
    msgpack::text_of(out, event.id.as_bytes());
    for text in [&event.client, &event.exit_reason] {
        msgpack::int(out, strings.number(text));
    }
    msgpack::int(out, i64::from(event.counters));
    for text in [&event.resource, &event.user] {
        msgpack::int(out, strings.number(text));
    }
}

/// The event of `write_event`.
pub fn event_of(reader: &mut Reader<'_>, strings: &Strings) -> Sure<Event> {
    reader.array_of(9)?;
    let time_ms = reader.int()?;
    let meaning = reader.int()?;
    let kind = Kind::of(meaning % STATED).ok_or(DAMAGED)?;
    let stated = AppState::of(meaning / STATED).ok_or(DAMAGED)?;
    let seq = reader.int()?;
    let id = reader.text()?.into();
    let client = strings.at(reader.number()?)?;
    let exit_reason = strings.at(reader.number()?)?;
    let counters = u16::try_from(reader.int()?).map_err(|_| DAMAGED)?;
    let resource = strings.at(reader.number()?)?;
    let user = strings.at(reader.number()?)?;
    Ok(Event { time_ms, seq, id, kind, client, exit_reason, counters, resource, user, stated })
}

/// Events in order: `front` decoded, then `runs` encoded, then `fresh` decoded.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// Place of the newest event.
    pub last: Option<OrderKey>,
    /// Time of the oldest event; of no meaning if there is none.
    pub first_ms: i64,
    pub count: usize,
    pub marks: Vec<u8>,
    front: Vec<Event>,
    runs: Vec<Run>,
    fresh: Vec<Event>,
    /// All ids, from when marks did not tell them apart until the events are encoded.
    ids: Option<HashSet<EventId>>,
}

impl Tail {
    /// As `packed` gave it.
    pub fn of_runs(runs: Vec<Run>, marks: Vec<u8>, last: Option<OrderKey>) -> Sure<Self> {
        let count = runs.iter().map(|run| run.length).sum();
        if marks.len() != 4 * count || last.is_none() != runs.is_empty() {
            return Err(DAMAGED);
        }
        let first_ms = runs.first().map_or(0, |run| run.first_ms);
        Ok(Self { last, first_ms, count, marks, runs, ..Self::default() })
    }

    /// Of events in order.
    pub fn of_events(events: Vec<Event>) -> Self {
        let mut tail = Self::default();
        for event in events {
            let mark = mark_of(&event.id);
            tail.append(event, mark);
        }
        tail
    }

    /// Whether an event with this mark may be here.
    pub fn may_have(&self, mark: [u8; 4]) -> bool {
        has(&self.marks, mark)
    }

    /// So many events are to come.
    pub fn reserve(&mut self, events: usize) {
        self.fresh.reserve(events);
    }

    /// Put an event that comes after all others, with the mark of its id.
    pub fn append(&mut self, event: Event, mark: [u8; 4]) {
        if self.count == 0 {
            self.first_ms = event.time_ms;
        }
        self.marks.extend_from_slice(&mark);
        if let Some(ids) = &mut self.ids {
            ids.insert(event.id.clone());
        }
        self.count += 1;
        self.last = Some(OrderKey::of(&event));
        self.fresh.push(event);
    }

    /// Move the events of a record behind all others, if there is nothing else to do: each is newer than the one before
    /// it and no later than `latest_ms`, and none may be here already or has an id that is among `names`; afterwards there
    /// are no more than `most`. Otherwise nothing is changed.
    pub fn take_newer(&mut self, events: &mut Vec<Event>, latest_ms: i64, names: &[Text], most: i64) -> bool {
        let Some(newest) = &self.last else { return false };
        let known = self.marks.len();
        let is_taken = (self.count + events.len()) as i64 <= most.max(self.count as i64)
            && events.iter().enumerate().all(|(at, event)| {
                let is_newer = match at.checked_sub(1) {
                    Some(before) => events[before].place() < event.place(),
                    None => newest.is_before(event),
                };
                let mark = mark_of(&event.id);
                let is_new = is_newer
                    && event.time_ms <= latest_ms
                    && !names.iter().any(|name| event.id.is(name))
                    && !has(&self.marks, mark);
                self.marks.extend_from_slice(&mark);
                is_new
            });
        if !is_taken {
            self.marks.truncate(known);
            return false;
        }
        if let Some(ids) = &mut self.ids {
            ids.extend(events.iter().map(|event| event.id.clone()));
        }
        if let Some(event) = events.last() {
            self.last = Some(OrderKey::of(event));
        }
        self.count += events.len();
        self.fresh.append(events);
        true
    }

    /// The newest of the decoded events.
    pub fn newest(&self, count: usize) -> &[Event] {
        &self.fresh[self.fresh.len() - count..]
    }

    /// The time of the event of this id, which has this mark. None if there is none; `UNTOLD` if it is here and was
    /// not looked at.
    pub fn time_of(&mut self, id: &EventId, mark: [u8; 4], strings: &Strings) -> Sure<Option<i64>> {
        if let Some(ids) = &self.ids {
            return Ok(ids.contains(id).then_some(UNTOLD));
        }
        if !self.may_have(mark) {
            return Ok(None);
        }
        let mut alike = 0;
        for index in 0..self.count {
            if self.marks[4 * index..4 * index + 4] != mark {
                continue;
            }
            let (time_ms, known) = self.at(index, strings)?;
            if known == *id {
                return Ok(Some(time_ms));
            }
            alike += 1;
            if alike == MOST_ALIKE {
                let ids: HashSet<EventId> =
                    self.thaw(strings)?.iter().map(|event| event.id.clone()).collect();
                let found = ids.contains(id).then_some(UNTOLD);
                self.ids = Some(ids);
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Time and id of an event.
    fn at(&self, mut index: usize, strings: &Strings) -> Sure<(i64, EventId)> {
        if let Some(event) = self.front.get(index) {
            return Ok((event.time_ms, event.id.clone()));
        }
        index -= self.front.len();
        for run in &self.runs {
            if index < run.length {
                let event = run.events(strings)?.swap_remove(index);
                return Ok((event.time_ms, event.id));
            }
            index -= run.length;
        }
        let event = &self.fresh[index];
        Ok((event.time_ms, event.id.clone()))
    }

    /// All events decoded.
    pub fn thaw(&mut self, strings: &Strings) -> Sure<&[Event]> {
        self.front.reserve(self.count - self.front.len() + ROOM_EVENTS);
        while !self.runs.is_empty() || !self.fresh.is_empty() {
            self.melt(strings)?;
        }
        Ok(&self.front)
    }

    /// Put an event that comes before the newest, with the mark of its id, in its place.
    pub fn insert(&mut self, event: Event, mark: [u8; 4], strings: &Strings) -> Sure<()> {
        let at = self.thaw(strings)?.partition_point(|each| each.place() < event.place());
        self.marks.splice(4 * at..4 * at, mark);
        if let Some(ids) = &mut self.ids {
            ids.insert(event.id.clone());
        }
        self.front.insert(at, event);
        self.count += 1;
        self.first_ms = self.front[0].time_ms;
        Ok(())
    }

    /// Take the oldest events out.
    pub fn take(&mut self, count: usize, strings: &Strings) -> Sure<Vec<Event>> {
        while self.front.len() < count {
            self.melt(strings)?;
        }
        let taken: Vec<Event> = self.front.drain(..count).collect();
        self.marks.drain(..4 * count);
        if let Some(ids) = &mut self.ids {
            for event in &taken {
                ids.remove(&event.id);
            }
        }
        self.count -= count;
        if let Some(event) = self.front.first() {
            self.first_ms = event.time_ms;
        } else if let Some(run) = self.runs.first() {
            self.first_ms = run.first_ms;
        } else if let Some(event) = self.fresh.first() {
            self.first_ms = event.time_ms;
        } else {
            self.last = None;
        }
        Ok(taken)
    }

    /// How many events are older than that.
    pub fn older_than(&mut self, time_ms: i64, strings: &Strings) -> Sure<usize> {
        if self.count == 0 || self.first_ms >= time_ms {
            return Ok(0);
        }
        let mut at = 0;
        while at < self.count {
            if at == self.front.len() {
                self.melt(strings)?;
            }
            if self.front[at].time_ms >= time_ms {
                break;
            }
            at += 1;
        }
        Ok(at)
    }

    /// Decode the oldest run; the last of all are decoded already.
    fn melt(&mut self, strings: &Strings) -> Sure<()> {
        if self.runs.is_empty() {
            self.front.append(&mut self.fresh);
        } else {
            let run = self.runs.remove(0);
            self.front.extend(run.events(strings)?);
        }
        Ok(())
    }

    /// The events as runs, all encoded; the decoded ones are let go.
    pub fn packed(&mut self, strings: &mut Strings) -> &[Run] {
        let mut runs = cut(&self.front, strings);
        runs.append(&mut self.runs);
        let mut fresh = cut(&self.fresh, strings).into_iter().peekable();
        if let (Some(last), Some(first)) = (runs.last_mut(), fresh.peek())
            && last.length + first.length <= RUN_EVENTS
        {
            last.length += first.length;
            last.rows.extend_from_slice(&first.rows);
            fresh.next();
        }
        runs.extend(fresh);
        self.front.clear();
        self.fresh.clear();
        self.ids = None;
        self.runs = runs;
        &self.runs
    }
}

fn has(marks: &[u8], mark: [u8; 4]) -> bool {
    let wanted = u32::from_ne_bytes(mark);
    let mut found = false;
    // Without a way out in between, so that many are compared at once.
    for each in marks.as_chunks::<4>().0 {
        found |= u32::from_ne_bytes(*each) == wanted;
    }
    found
}

fn cut(events: &[Event], strings: &mut Strings) -> Vec<Run> {
    let run = |some: &[Event]| {
        let mut rows = Vec::with_capacity(40 * some.len());
        for event in some {
            write_event(&mut rows, event, strings);
        }
        Run { length: some.len(), first_ms: some[0].time_ms, rows }
    };
    events.chunks(RUN_EVENTS).map(run).collect()
}
