//! What is durable of a partition's devices, encoded: the base and the steps of each, in little memory.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::codec::state_head::outline;

/// Behind the device key: the table key of its steps. No device key has a NUL.
pub const STEPS_SUFFIX: &[u8] = b"\0steps";
/// In the place of a deadline: there is none.
pub const NEVER: i64 = i64::MAX;

/// Where a device is kept.
pub type Place = u32;

/// Of a table key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Base,
    Steps,
}

/// The device and the part that a table key is of; None: it is of something else.
pub fn part_of(table_key: &[u8]) -> Option<(&[u8], Part)> {
    let (key, part) =
        table_key.strip_suffix(STEPS_SUFFIX).map_or((table_key, Part::Base), |key| (key, Part::Steps));
    (!key.contains(&0)).then_some((key, part))
}

/// A device key and its hash: to keep that takes less than to work it out again.
#[derive(Clone, Copy)]
pub struct Hashed<'a> {
    pub key: &'a [u8],
    pub hash: u64,
}

impl<'a> Hashed<'a> {
    pub fn of(key: &'a [u8]) -> Self {
        static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);
        Self { key, hash: HASHER.hash_one(key) }
    }
}

/// A device. What is asked of one lies in one line of the cache.
#[repr(align(64))]
pub struct Kept {
    /// The key, and the steps behind it. They grow step by step: alone they would leave holes between keys, too small
    /// for any steps to come.
    pub(super) bytes: Box<[u8]>,
    key_bytes: u32,
    has_steps: bool,
    base: Option<Box<[u8]>>,
    /// Its deadlines as they are noted.
    pub queued_ms: [i64; 2],
    /// Entries of heaps that name it.
    pub queued: u32,
    /// It has an open session that is not reported as ended.
    pub is_open: bool,
}

impl Kept {
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_bytes as usize]
    }

    pub fn base(&self) -> Option<&[u8]> {
        self.base.as_deref()
    }

    pub fn steps(&self) -> Option<&[u8]> {
        self.has_steps.then(|| &self.bytes[self.key_bytes as usize..])
    }

    pub fn is_known(&self) -> bool {
        self.base.is_some() || self.has_steps
    }

    pub fn weight(&self) -> usize {
        self.base().map_or(0, <[u8]>::len) + self.steps().map_or(0, <[u8]>::len)
    }

    fn put(&mut self, part: Part, value: Option<&[u8]>) {
        match part {
            Part::Base => self.base = value.map(Into::into),
            Part::Steps => {
                self.has_steps = value.is_some();
                self.bytes = [self.key(), value.unwrap_or_default()].concat().into();
            }
        }
    }
}

/// All devices. Beside keys and values a device takes some 120 bytes, its deadlines included.
#[derive(Default)]
pub struct Durable {
    devices: Vec<Kept>,
    free: Vec<Place>,
    pub(super) by_key: HashTable<Place>,
    /// Of all parts.
    pub byte_count: usize,
    /// Devices of which something is durable.
    pub count: usize,
}

impl Durable {
    pub fn find(&self, of: Hashed<'_>) -> Option<Place> {
        self.by_key.find(of.hash, |at| self.at(*at).key() == of.key).copied()
    }

    pub fn at(&self, place: Place) -> &Kept {
        &self.devices[place as usize]
    }

    pub fn at_mut(&mut self, place: Place) -> &mut Kept {
        &mut self.devices[place as usize]
    }

    pub fn get(&self, key: &[u8]) -> Option<&Kept> {
        self.find(Hashed::of(key)).map(|place| self.at(place))
    }

    /// All that are known, in no order that means anything.
    pub fn known(&self) -> impl Iterator<Item = &Kept> {
        self.devices.iter().filter(|device| device.is_known())
    }

    /// Of all places, free ones too.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        0..Place::try_from(self.devices.len()).expect("they are counted so")
    }

    /// The place of a device, a new one if it has none.
    pub fn place(&mut self, of: Hashed<'_>) -> Place {
        if let Some(place) = self.find(of) {
            return place;
        }
        let device = Kept {
            bytes: of.key.into(),
            key_bytes: u32::try_from(of.key.len()).expect("Kafka has no such keys"),
            has_steps: false,
            base: None,
            queued_ms: [NEVER; 2],
            queued: 0,
            is_open: false,
        };
        let place = if let Some(place) = self.free.pop() {
            self.devices[place as usize] = device;
            place
        } else {
            self.devices.push(device);
            Place::try_from(self.devices.len() - 1).expect("fewer than four thousand million devices")
        };
        let Self { devices, by_key, .. } = self;
        by_key.insert_unique(of.hash, place, |at| Hashed::of(devices[*at as usize].key()).hash);
        place
    }

    /// Take a part over, or let it go. The other one stays as it is.
    pub fn put(&mut self, place: Place, part: Part, value: Option<&[u8]>) {
        let device = &mut self.devices[place as usize];
        let was_known = device.is_known();
        self.byte_count -= device.weight();
        device.put(part, value);
        self.byte_count += device.weight();
        match (was_known, device.is_known()) {
            (false, true) => self.count += 1,
            (true, false) => self.count -= 1,
            _ => {}
        }
    }

    /// Let the place of a device go if nothing is known of it and nothing waits for it.
    pub fn settle(&mut self, place: Place) {
        let device = self.at(place);
        if device.is_known() || device.is_open || device.queued > 0 {
            return;
        }
        let hash = Hashed::of(device.key()).hash;
        if let Ok(found) = self.by_key.find_entry(hash, |at| *at == place) {
            found.remove();
            let device = self.at_mut(place);
            (device.bytes, device.key_bytes) = (Box::default(), 0);
            self.free.push(place);
        }
    }

    /// Drop the steps whose base has gone on; the devices whose parts may not belong together, or are of an older
    /// version.
    pub fn misfits(&mut self) -> Vec<Place> {
        let mut found = Vec::new();
        for place in self.places() {
            let device = self.at(place);
            let Some(steps) = device.steps() else { continue };
            let reach = device.base().map_or(Ok(-1), |base| outline(base).map(|(of, _)| of.applied_offset));
            let (Ok((steps, _)), Ok(reach)) = (outline(steps), reach) else {
                found.push(place);
                continue;
            };
            if steps.applied_offset <= reach {
                self.put(place, Part::Steps, None);
            } else if steps.base_offset != reach {
                found.push(place);
            }
        }
        found
    }
}
