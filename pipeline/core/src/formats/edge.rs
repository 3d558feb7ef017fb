//! What of the records of a device is folded: as the privacy rules of its app leave it.

use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

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
const PART_BYTES: usize = 1_000_000;

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
        fields: &Bound<'_, PyList>,
        came_ms: &Bound<'_, PyDict>,
        cleaner: &Bound<'_, PyAny>,
    ) -> PyResult<Sure<(Vec<Arrival>, i64)>> {
        let names = match names_of(key) {
            Ok(names) => names,
            Err(why) => return Ok(Err(why)),
        };
        let mut texts =
            Texts { resource: None, user: None, canonical: ("{}".into(), crate::domain::empty()) };
        let mut client: Text = crate::domain::empty();
        let mut arrivals = Vec::with_capacity(fields.len() / 4);
        let (mut corrected_ms, mut size) = (0, 0);
        let is_behind = !came_ms.is_empty();
        self.take_rules(cleaner)?;
        for at in (0..fields.len()).step_by(4) {
            let (offset, record_ms) = (fields.get_item(at)?.extract()?, fields.get_item(at + 1)?.extract()?);
            let value = fields.get_item(at + 2)?;
            let Ok(value) = value.cast::<PyBytes>() else { return Ok(Err(Unsure("empty"))) };
            let value = value.as_bytes();
            size += value.len();
            let headers = fields.get_item(at + 3)?;
            let decoded_ms = if headers.is_none() { record_ms } else { record_time_ms(&headers, record_ms)? };
            if !(0..=LATEST_MS).contains(&record_ms) || !(0..=LATEST_MS).contains(&decoded_ms) {
                return Ok(Err(Unsure("time")));
            }
            let rules = self.rules.get_mut(&address(cleaner)).expect("they were taken");
            if rules.has_own {
                return Ok(Err(Unsure("privacy")));
            }
            let wire = match plain_envelope(value, names, &rules.private) {
                Ok(wire) => wire,
                Err(why) => return Ok(Err(why)),
            };
            if !texts.are(wire.resource, wire.user) {
                let found = (
                    rules.canonical(py, 0, wire.resource.unwrap_or(""), &mut self.known_bytes)?,
                    match wire.user {
                        Some(user) => rules.canonical(py, 1, user, &mut self.known_bytes)?,
                        None => Some(crate::domain::empty()),
                    },
                );
                let (Some(resource), Some(user)) = found else { return Ok(Err(Unsure("envelope"))) };
                texts = Texts {
                    resource: Some(wire.resource.unwrap_or("").into()),
                    user: wire.user.map(Into::into),
                    canonical: (resource, user),
                };
            }
            let (resource, user) = &texts.canonical;
            let (events, latest_ms) = match events_of(wire, decoded_ms, resource, user, &mut client) {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            corrected_ms = corrected_ms.max(latest_ms);
            let came = if is_behind { came_ms.get_item(offset)? } else { None };
            let record_ms = came.map_or(Ok(record_ms), |came| came.extract())?;
            arrivals.push(Arrival { offset, record_ms, events });
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

/// The record time by which a record with headers is decoded.
fn record_time_ms(headers: &Bound<'_, PyAny>, timestamp_ms: i64) -> PyResult<i64> {
    for header in headers.try_iter()? {
        let header = header?;
        let text = header.get_item(1)?;
        if header.get_item(0)?.extract::<String>().is_ok_and(|name| name == REPLAYED_RECORD_MS)
            && !text.is_none()
        {
            return Ok(said(text.cast::<PyBytes>()?.as_bytes(), timestamp_ms));
        }
    }
    Ok(timestamp_ms)
}
