//! When silence next has something to say about which device.

use super::codec::state_head::Outline;
use super::durable::{Durable, Hashed, NEVER, Place};

/// Of a policy: when an open session is idle, when sessions become final, when a device is forgotten.
#[derive(Clone, Copy)]
pub struct Times {
    pub idle_timeout_ms: i64,
    pub restate_horizon_ms: i64,
    pub state_ttl_ms: i64,
}

/// Two heaps with one entry per device each: of open sessions that are idle (0), and of what becomes final or is
/// forgotten (1). A deadline that moves later stays at its old place and is put right when it comes up.
#[derive(Default)]
pub struct Timetable {
    heaps: [Vec<(i64, Place)>; 2],
    /// Devices whose open session is not reported as ended.
    pub open_count: usize,
}

impl Timetable {
    /// Note when silence next has something to say about a device; `NEVER`: it has not.
    pub fn touch(&mut self, durable: &mut Durable, of: Hashed<'_>, due_ms: [i64; 2]) {
        let place = if due_ms == [NEVER; 2] { durable.find(of) } else { Some(durable.place(of)) };
        if let Some(place) = place {
            self.touch_at(durable, place, due_ms);
        }
    }

    /// The same of a device in its place.
    pub fn touch_at(&mut self, durable: &mut Durable, place: Place, due_ms: [i64; 2]) {
        let device = durable.at_mut(place);
        match (device.is_open, due_ms[0] != NEVER) {
            (false, true) => self.open_count += 1,
            (true, false) => self.open_count -= 1,
            _ => {}
        }
        device.is_open = due_ms[0] != NEVER;
        for (which, due_ms) in due_ms.into_iter().enumerate() {
            self.note(durable, which, place, due_ms);
        }
        durable.settle(place);
    }

    /// Note a deadline, new or changed.
    pub fn note(&mut self, durable: &mut Durable, which: usize, place: Place, due_ms: i64) {
        let device = durable.at_mut(place);
        if due_ms < device.queued_ms[which] {
            device.queued_ms[which] = due_ms;
            device.queued += 1;
            push(&mut self.heaps[which], (due_ms, place), durable);
        }
    }

    /// Up to `limit` keys that were noted for `now_ms` or before, in order; they are no longer noted.
    pub fn pop(&mut self, durable: &mut Durable, which: usize, now_ms: i64, limit: usize) -> Vec<Box<[u8]>> {
        let heap = &mut self.heaps[which];
        let mut keys = Vec::new();
        while keys.len() < limit && heap.first().is_some_and(|first| first.0 <= now_ms) {
            let (queued_ms, place) = pop(heap, durable);
            let device = durable.at_mut(place);
            device.queued -= 1;
            if device.queued_ms[which] == queued_ms {
                device.queued_ms[which] = NEVER;
                keys.push(device.key().into());
            }
            // Otherwise an earlier entry of this device came up before.
            durable.settle(place);
        }
        keys
    }
}

/// Both deadlines of a device.
pub fn due_ms(known: &Outline, times: Times) -> [i64; 2] {
    let idle_ms = known.arrived_ms.saturating_add(times.idle_timeout_ms);
    let rest_ms = if known.has_tail { times.restate_horizon_ms } else { times.state_ttl_ms };
    [if known.silence_due { idle_ms } else { NEVER }, known.arrived_ms.saturating_add(rest_ms)]
}

/// By time, then by key.
fn is_before(one: (i64, Place), other: (i64, Place), durable: &Durable) -> bool {
    one.0 < other.0 || one.0 == other.0 && durable.at(one.1).key() < durable.at(other.1).key()
}

fn push(heap: &mut Vec<(i64, Place)>, entry: (i64, Place), durable: &Durable) {
    let mut at = heap.len();
    heap.push(entry);
    while at > 0 {
        let parent = (at - 1) / 2;
        if !is_before(heap[at], heap[parent], durable) {
            break;
        }
        heap.swap(at, parent);
        at = parent;
    }
}

/// The first entry; there is one.
fn pop(heap: &mut Vec<(i64, Place)>, durable: &Durable) -> (i64, Place) {
    let first = heap.swap_remove(0);
    let mut at = 0;
    loop {
        let mut least = at;
        for child in [2 * at + 1, 2 * at + 2] {
            if child < heap.len() && is_before(heap[child], heap[least], durable) {
                least = child;
            }
        }
        if least == at {
            return first;
        }
        heap.swap(at, least);
        at = least;
    }
}
