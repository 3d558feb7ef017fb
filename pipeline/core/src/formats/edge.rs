//! What of the records of a device is folded: as the privacy rules of its app leave it.

use hashbrown::HashMap;
use pyo3::prelude::*;

use super::native::cleaner::{Rules, Texts};
use super::native::events::events_of;
use super::native::reading::{names_of, plain_envelope};
use super::record_time::{REPLAYED_RECORD_MS, said};
use crate::domain::Text;
use crate::state::device::Arrival;
use crate::unsure::{Sure, Unsure};

/// Of resources and users whose canonical form is remembered.
const KEPT_BYTES: usize = 40_000_000;
const MOST_RULES: usize = 10_000;
/// Of a record's time: sums of such are far from what 64 bits hold.
const LATEST_MS: i64 = 1 << 53;
/// Of the records of one device that are folded before its state is written.
pub const PART_BYTES: usize = 1_000_000;

/// The rules of apps, by where their `Cleaner` lies.
#[derive(Default)]
pub struct Edge {
    rules: HashMap<usize, Rules>,
    known_bytes: usize,
}

impl Edge {
    /// Forget what was read of rules.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.known_bytes = 0;
    }

    /// What the records hold, and the latest time that was corrected, or may have been.
    pub fn arrivals(
        &mut self,
        py: Python<'_>,
        key: &[u8],
        records: &[Given<'_>],
        cleaner: &Bound<'_, PyAny>,
    ) -> PyResult<Sure<(Vec<Arrival>, i64)>> {
        let names = match names_of(key) {
            Ok(names) => names,
            Err(why) => return Ok(Err(why)),
        };
        let mut texts = None;
        let mut client: Text = crate::domain::empty();
        let mut arrivals = Vec::with_capacity(records.len());
        let (mut corrected_ms, mut size) = (0, 0);
        self.take_rules(cleaner)?;
        let rules = self.rules.get_mut(&address(cleaner)).expect("they were taken");
        for record in records {
            let Some(value) = record.value else { return Ok(Err(Unsure("empty"))) };
            size += value.len();
            let is_in_time = |ms| (0..=LATEST_MS).contains(&ms);
            if !is_in_time(record.record_ms) || !is_in_time(record.decoded_ms) {
                return Ok(Err(Unsure("time")));
            }
            if rules.has_own {
                return Ok(Err(Unsure("privacy")));
            }
            let wire = match plain_envelope(value, names, &rules.private) {
                Ok(wire) => wire,
                Err(why) => return Ok(Err(why)),
            };
            let (resource, user) = (wire.resource.unwrap_or(""), wire.user);
            if !texts.as_ref().is_some_and(|known: &Texts<'_>| known.are(resource, user)) {
                texts = rules.texts(py, resource, user, &mut self.known_bytes)?;
            }
            let Some(known) = &texts else { return Ok(Err(Unsure("envelope"))) };
            let told = match events_of(wire, record.decoded_ms, &known.canonical, &mut client) {
                Ok(told) => told,
                Err(why) => return Ok(Err(why)),
            };
            corrected_ms = corrected_ms.max(told.corrected_ms);
            let (moved_ms, events) = (told.moved_ms, told.events);
            arrivals.push(Arrival { offset: record.offset, record_ms: record.came_ms, moved_ms, events });
        }
        if arrivals.is_empty() || size > PART_BYTES && arrivals.len() > 1 {
            return Ok(Err(Unsure("part")));
        }
        Ok(Ok((arrivals, corrected_ms)))
    }

    fn take_rules(&mut self, cleaner: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.known_bytes > KEPT_BYTES || self.rules.len() > MOST_RULES {
            self.rules.clear();
            self.known_bytes = 0;
        }
        if !self.rules.contains_key(&address(cleaner)) {
            let rules = Rules::of(cleaner)?;
            self.rules.insert(address(cleaner), rules);
        }
        Ok(())
    }
}

/// Where an object lies: it stays there for as long as it is held.
fn address(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

/// A record of a device that is to be folded.
pub struct Given<'a> {
    pub offset: i64,
    /// The broker's record time.
    pub record_ms: i64,
    /// By which it is decoded.
    pub decoded_ms: i64,
    /// At which it came, as its partition counts.
    pub came_ms: i64,
    pub has_headers: bool,
    pub value: Option<&'a [u8]>,
}

/// The record time by which a record with headers is decoded.
pub fn record_time_ms<'a>(
    headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    timestamp_ms: i64,
) -> i64 {
    let replayed = headers.into_iter().find_map(|(name, text)| text.filter(|_| name == REPLAYED_RECORD_MS));
    replayed.map_or(timestamp_ms, |text| said(text, timestamp_ms))
}
