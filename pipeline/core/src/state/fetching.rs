//! What the next devices need, fetched from memory ahead of them. Where a chunk has little of each of many devices, the
//! memory is waited for longer than anything is done. Nothing else comes of it: no more than a byte is read here and there.

use std::hint::black_box;

use pyo3::prelude::*;

use super::durable::{Durable, Hashed, Kept, Place};
use super::grouping::{Groups, NONE};

/// Devices of which what is needed is fetched from memory together.
pub const TOGETHER: usize = 32;
const LINE_BYTES: usize = 64;
/// Records of these.
const MOST_RECORDS: usize = 512;
/// Of what one brings, or has: more is fetched soon enough as it is read.
const MOST_LINES: usize = 64;

/// Have bytes fetched from memory: they are read once, a byte of each line of the cache.
pub fn fetch(bytes: &[u8]) {
    let first = bytes.iter().step_by(LINE_BYTES).take(MOST_LINES);
    black_box(first.fold(0_u8, |read, byte| read ^ byte));
}

impl Durable {
    /// Have what is kept of several devices fetched from memory at the same time: whoever takes one after the other would
    /// wait for each of them. Nothing else comes of it.
    pub fn fetch(&self, hashes: impl Iterator<Item = u64>) {
        // Each of these lines reads what the one before has found, so that within one nothing waits for anything.
        let likely: Vec<&Place> = hashes.filter_map(|hash| self.by_key.find(hash, |_| true)).collect();
        let devices: Vec<&Kept> = likely.iter().map(|place| self.at(**place)).collect();
        let parts: Vec<[&[u8]; 2]> =
            devices.iter().map(|device| [&*device.bytes, device.base().unwrap_or_default()]).collect();
        parts.iter().flatten().for_each(|part| fetch(part));
    }

    /// The same of the keys of devices alone, in their likely places.
    pub fn fetch_keys(&self, places: impl Iterator<Item = Place>) {
        let devices: Vec<&Kept> = places.map(|place| self.at(place)).collect();
        devices.iter().for_each(|device| fetch(device.key()));
    }

    /// Where a device is, or one whose key has nearly the same hash.
    pub fn likely(&self, of: Hashed<'_>) -> Option<Place> {
        self.by_key.find(of.hash, |_| true).copied()
    }
}

impl Groups {
    /// Have the records of the next devices, and what is kept of these, fetched from memory.
    pub(super) fn fetch(&self, py: Python<'_>, durable: &Durable) {
        let next = self.at..self.groups.len().min(self.at + TOGETHER);
        let mut places = Vec::with_capacity(MOST_RECORDS);
        for group in next.clone() {
            let mut at = self.groups[group].first;
            while at != NONE && places.len() < MOST_RECORDS {
                places.push(self.records.from + at as usize);
                at = self.next_of[at as usize];
            }
        }
        let values: Vec<_> = places.iter().filter_map(|place| self.records.all.value(py, *place)).collect();
        values.into_iter().for_each(fetch);
        durable.fetch(next.map(|group| self.groups[group].hash));
    }
}
