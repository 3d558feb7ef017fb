//! Columns of a block in ClickHouse's format Native, as a client of the oldest revision writes them.

use hashbrown::HashMap;

/// Of a dictionary: it brings its own keys, and they are all.
const OWN_KEYS: u64 = 0x600;

pub fn length(out: &mut Vec<u8>, mut count: usize) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

pub fn text(out: &mut Vec<u8>, text: &str) {
    length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Texts of which many are the same: `LowCardinality(String)`.
#[derive(Default)]
pub struct Dictionary {
    numbers: HashMap<Box<str>, u32>,
    keys: Vec<u8>,
    rows: Vec<u32>,
}

impl Dictionary {
    pub fn push(&mut self, key: &str) {
        let number = self.number(key);
        self.rows.push(number);
    }

    /// The same text on so many rows.
    pub fn push_all(&mut self, key: &str, count: usize) {
        let number = self.number(key);
        self.rows.resize(self.rows.len() + count, number);
    }

    fn number(&mut self, key: &str) -> u32 {
        if let Some(&found) = self.numbers.get(key) {
            return found;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(key.into(), number);
        text(&mut self.keys, key);
        number
    }

    pub fn byte_count(&self) -> usize {
        self.keys.len() + 4 * self.rows.len()
    }

    /// What stands before the rows, and of a map before its offsets.
    pub fn write_head(out: &mut Vec<u8>) {
        out.extend_from_slice(&1u64.to_le_bytes());
    }

    /// The rows; nothing, where there are none.
    pub fn write_rows(&self, out: &mut Vec<u8>) {
        if self.rows.is_empty() {
            return;
        }
        let wide = match self.numbers.len() {
            0..=0x100 => 0u64,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        out.extend_from_slice(&(OWN_KEYS | wide).to_le_bytes());
        out.extend_from_slice(&(self.numbers.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.keys);
        out.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        match wide {
            0 => out.extend(self.rows.iter().map(|&row| row as u8)),
            1 => out.extend(self.rows.iter().flat_map(|&row| (row as u16).to_le_bytes())),
            _ => out.extend(self.rows.iter().flat_map(|row| row.to_le_bytes())),
        }
    }
}

/// A map of texts, whose keys are a dictionary: `Map(LowCardinality(String), String)`.
#[derive(Default)]
pub struct Map {
    ends: Vec<u8>,
    count: u64,
    keys: Dictionary,
    values: Vec<u8>,
}

impl Map {
    pub fn push(&mut self, key: &str, value: &str) {
        self.count += 1;
        self.keys.push(key);
        text(&mut self.values, value);
    }

    /// The row ends.
    pub fn end(&mut self) {
        self.ends.extend_from_slice(&self.count.to_le_bytes());
    }

    pub fn byte_count(&self) -> usize {
        self.ends.len() + self.keys.byte_count() + self.values.len()
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        Dictionary::write_head(out);
        out.extend_from_slice(&self.ends);
        self.keys.write_rows(out);
        out.extend_from_slice(&self.values);
    }
}
