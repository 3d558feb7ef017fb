//! What the router writes: events of a body packed into native envelopes.

use std::fmt::Display;

use super::limits::{MAX_CONTAINERS, MAX_EVENTS, MAX_MADE_BYTES, MAX_RECORD_BYTES};
use super::strict_json::{number, quoted};
use crate::unsure::{Sure, Unsure};

const SIZE: Unsure = Unsure("size");

/// What a native event says between its id and its attributes: `time` is in Unix milliseconds and the nanoseconds beyond
/// them; `session_id` is the SDK's, empty for none.
pub fn write_behind_id<Seq: Display + Default + PartialEq>(
    out: &mut Vec<u8>,
    name: &str,
    (time_ms, seq): (i64, Seq),
    session_id: &str,
) {
    out.extend(b",\"name\":");
    quoted(out, name);
    out.extend(b",\"time\":");
    number(out, time_ms);
    if seq != Seq::default() {
        out.extend(b",\"seq\":");
        number(out, seq);
    }
    if !session_id.is_empty() {
        out.extend(b",\"session_id\":");
        quoted(out, session_id);
    }
    out.extend(b",\"attributes\":");
}

/// What the events of one native envelope have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub app_id: String,
    pub device_id: String,
    /// Canonical JSON.
    pub resource: String,
    /// Canonical JSON, empty for none.
    pub user: String,
}

/// One record for `sdk-events`.
pub struct NativeRecord {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// The envelopes of one sender, as the events that each holds.
struct Envelopes<'a> {
    head: Vec<u8>,
    used: usize,
    chunks: Vec<Vec<&'a [u8]>>,
}

/// Native envelopes, one sender each, in the order in which the senders first appear: of events that are all within the
/// limits, as Python counts them. `events` are the index of a sender and the event as JSON.
pub fn pack(senders: &[Sender], events: &[(usize, &[u8])]) -> Sure<Vec<NativeRecord>> {
    let mut order = Vec::new();
    let mut packed: Vec<Option<Envelopes>> = senders.iter().map(|_| None).collect();
    let mut made = 0;
    for &(sender, event) in events {
        let into = packed[sender].get_or_insert_with(|| {
            order.push(sender);
            Envelopes { head: head(&senders[sender]), used: 0, chunks: Vec::new() }
        });
        let head_bytes = into.head.len() + TAIL.len();
        let room = MAX_RECORD_BYTES.checked_sub(head_bytes).ok_or(SIZE)?;
        if event.len() > room {
            return Err(SIZE);
        }
        let is_next = match into.chunks.last() {
            Some(chunk) => into.used + event.len() > room || chunk.len() == MAX_EVENTS,
            None => true,
        };
        made += event.len() + 1 + if is_next { head_bytes } else { 0 };
        if made > MAX_MADE_BYTES {
            return Err(SIZE);
        }
        if is_next {
            into.chunks.push(Vec::new());
            into.used = 0;
        }
        into.chunks.last_mut().expect("there is one").push(event);
        into.used += event.len() + 1;
    }
    let mut records = Vec::new();
    for sender in order {
        let Some(into) = &packed[sender] else { continue };
        let Sender { app_id, device_id, .. } = &senders[sender];
        for chunk in &into.chunks {
            let key = format!("{app_id}/{device_id}").into_bytes();
            records.push(NativeRecord { key, value: close(&into.head, chunk)? });
        }
    }
    Ok(records)
}

/// The envelope of some events. Where they hold more arrays and objects than one may, Python makes more of it.
fn close(head: &[u8], chunk: &[&[u8]]) -> Sure<Vec<u8>> {
    let size = chunk.iter().map(|event| event.len() + 1).sum::<usize>();
    let mut value = Vec::with_capacity(head.len() + size + TAIL.len());
    value.extend_from_slice(head);
    for (at, event) in chunk.iter().enumerate() {
        if at > 0 {
            value.push(b',');
        }
        value.extend_from_slice(event);
    }
    value.extend_from_slice(TAIL);
    let is_opening = |byte: &&u8| matches!(byte, b'{' | b'[');
    if value.len() > MAX_CONTAINERS && value.iter().filter(is_opening).count() > MAX_CONTAINERS {
        return Err(SIZE);
    }
    Ok(value)
}

const TAIL: &[u8] = b"]}";

fn head(sender: &Sender) -> Vec<u8> {
    let mut out = b"{\"v\":1,\"app_id\":".to_vec();
    quoted(&mut out, &sender.app_id);
    out.extend(b",\"device_id\":");
    quoted(&mut out, &sender.device_id);
    out.extend(b",\"resource\":");
    out.extend(sender.resource.as_bytes());
    if !sender.user.is_empty() {
        out.extend(b",\"user\":");
        out.extend(sender.user.as_bytes());
    }
    out.extend(b",\"events\":[");
    out
}
