//! Events of records as a block of `z_event_feed` in ClickHouse's format Native. As `event_line` in
//! `pipeline/storage/rows.py`, whose rows have the same values, an event each.

use crate::formats::envelope::Record;
use crate::storage::crash_rows::{Failure, Failures};
use crate::storage::native_columns::{Dictionary, Map, length, text};

/// What the envelope says of all its events, and the record.
pub struct Shared<'a> {
    pub resource: &'a str,
    pub app_version: &'a str,
    pub user: &'a str,
    pub user_id: &'a str,
    pub received_at_ms: i64,
    pub partition: u32,
    pub offset: u64,
    pub stored_on: u16,
    pub retention_days: u16,
}

/// Fields are the columns, in the order of EVENT_COLUMNS, but for topic and partition, which are the block's, and for the
/// symbols of failures, which are with these.
#[derive(Default)]
pub struct EventBlock {
    count: usize,
    app_id: Dictionary,
    device_id: Vec<u8>,
    event_id: Vec<u8>,
    time: Vec<u8>,
    raw_time: Vec<u8>,
    received_at: Vec<u8>,
    name: Dictionary,
    kind: Dictionary,
    seq: Vec<u8>,
    client_session_id: Vec<u8>,
    exit_reason: Dictionary,
    counters: Vec<u8>,
    stated: Dictionary,
    user_id: Vec<u8>,
    resource_json: Dictionary,
    user_json: Vec<u8>,
    app_version: Dictionary,
    attributes: Map,
    partition: Vec<u8>,
    offset: Vec<u8>,
    event_index: Vec<u8>,
    stored_on: Vec<u8>,
    retention_days: Vec<u8>,
    failures: Failures,
}

impl EventBlock {
    /// Takes the events of a record, and the failures that are among them.
    pub fn push(&mut self, record: &Record, shared: &Shared, failures: &[Failure]) {
        let count = record.events.len();
        self.failures.push_all(self.count, failures);
        self.app_id.push_all(&record.app_id, count);
        self.resource_json.push_all(shared.resource, count);
        self.app_version.push_all(shared.app_version, count);
        let mut from = 0;
        for (index, event) in record.events.iter().enumerate() {
            text(&mut self.device_id, &record.device_id);
            text(&mut self.event_id, &event.id);
            self.time.extend_from_slice(&event.time_ms.to_le_bytes());
            self.raw_time.extend_from_slice(&event.raw_time_ms.to_le_bytes());
            self.received_at.extend_from_slice(&shared.received_at_ms.to_le_bytes());
            self.name.push(&event.name);
            self.kind.push(event.meaning.kind.label());
            self.seq.extend_from_slice(&event.seq.to_le_bytes());
            text(&mut self.client_session_id, &event.session_id);
            self.exit_reason.push(event.meaning.exit_reason.as_deref().unwrap_or(""));
            self.counters.extend_from_slice(&u32::from(event.meaning.counters).to_le_bytes());
            self.stated.push(event.meaning.stated.label());
            text(&mut self.user_id, shared.user_id);
            text(&mut self.user_json, shared.user);
            for (name, value) in &record.attributes[from..event.attributes_end] {
                self.attributes.push(name, value);
            }
            from = event.attributes_end;
            self.attributes.end();
            self.partition.extend_from_slice(&shared.partition.to_le_bytes());
            self.offset.extend_from_slice(&shared.offset.to_le_bytes());
            self.event_index.extend_from_slice(&(index as u16).to_le_bytes());
            self.stored_on.extend_from_slice(&shared.stored_on.to_le_bytes());
            self.retention_days.extend_from_slice(&shared.retention_days.to_le_bytes());
        }
        self.count += count;
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// About what the block has.
    pub fn byte_count(&self) -> usize {
        let dictionaries =
            [&self.app_id, &self.name, &self.resource_json, &self.app_version, &self.exit_reason];
        let texts =
            [&self.device_id, &self.event_id, &self.client_session_id, &self.user_id, &self.user_json];
        // Those of one width: seven of eight bytes, two of four, three of two, and four bytes of small dictionaries.
        76 * self.count
            + dictionaries.iter().map(|each| each.byte_count()).sum::<usize>()
            + texts.iter().map(|each| each.len()).sum::<usize>()
            + self.attributes.byte_count()
            + self.failures.byte_count()
    }

    /// The block; nothing, where it has no rows.
    pub fn written(&self, topic: &str) -> Vec<u8> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(self.byte_count() + 4_096);
        length(&mut out, 27);
        length(&mut out, self.count);
        let mut topics = Dictionary::default();
        topics.push_all(topic, self.count);
        dictionary(&mut out, "app_id", &self.app_id);
        plain(&mut out, "device_id", "String", &self.device_id);
        plain(&mut out, "event_id", "String", &self.event_id);
        plain(&mut out, "time", TIME, &self.time);
        plain(&mut out, "raw_time", TIME, &self.raw_time);
        plain(&mut out, "received_at", TIME, &self.received_at);
        dictionary(&mut out, "name", &self.name);
        dictionary(&mut out, "kind", &self.kind);
        plain(&mut out, "seq", "Int64", &self.seq);
        plain(&mut out, "client_session_id", "String", &self.client_session_id);
        dictionary(&mut out, "exit_reason", &self.exit_reason);
        plain(&mut out, "counters", "UInt32", &self.counters);
        dictionary(&mut out, "stated", &self.stated);
        plain(&mut out, "user_id", "String", &self.user_id);
        dictionary(&mut out, "resource_json", &self.resource_json);
        plain(&mut out, "user_json", "String", &self.user_json);
        dictionary(&mut out, "app_version", &self.app_version);
        plain(&mut out, "attributes", "Map(LowCardinality(String), String)", &[]);
        self.attributes.write(&mut out);
        // Nothing is repaired: the ends of so many empty arrays.
        plain(&mut out, "repaired", "Array(String)", &vec![0; 8 * self.count]);
        dictionary(&mut out, "topic", &topics);
        plain(&mut out, "partition", "UInt32", &self.partition);
        plain(&mut out, "offset", "UInt64", &self.offset);
        plain(&mut out, "event_index", "UInt16", &self.event_index);
        plain(&mut out, "stored_on", "Date", &self.stored_on);
        plain(&mut out, "retention_days", "UInt16", &self.retention_days);
        self.failures.write(&mut out, self.count, |out, name, kind| plain(out, name, kind, &[]));
        out
    }
}

const TIME: &str = "DateTime64(3, 'UTC')";

fn plain(out: &mut Vec<u8>, name: &str, kind: &str, bytes: &[u8]) {
    text(out, name);
    text(out, kind);
    out.extend_from_slice(bytes);
}

fn dictionary(out: &mut Vec<u8>, name: &str, column: &Dictionary) {
    plain(out, name, "LowCardinality(String)", &[]);
    Dictionary::write_head(out);
    column.write_rows(out);
}
