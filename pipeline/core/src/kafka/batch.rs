//! The record batches of Kafka's protocol (`magic` 2), as a fetch brings them. What is not as it should be is `None`:
//! then aiokafka reads, and says what is wrong.

use std::ops::Range;

pub const HEADER_BYTES: usize = 61;
/// Bytes before those that the length of a batch counts.
pub const BEFORE_LENGTH: usize = 12;
const MAGIC_AT: usize = 16;
pub const CRC_AT: usize = 17;
pub const ATTRIBUTES_AT: usize = 21;
const MAX_VARINT_BYTES: usize = 10;

/// Where something lies in the bytes that a batch is unpacked of; None: it is not there.
pub type Span = Option<(u32, u32)>;

/// A record.
#[derive(Clone)]
pub struct Place {
    pub offset: i64,
    pub timestamp: i64,
    pub is_append_time: bool,
    pub key: Span,
    pub value: Span,
    pub headers: (u32, u32),
    pub header_count: u32,
}

/// What the header of a batch says.
pub struct Batch {
    base_offset: i64,
    first_timestamp: i64,
    max_timestamp: i64,
    record_count: i32,
    is_append_time: bool,
    pub is_control: bool,
    /// Of aiokafka's codecs; 0: none.
    pub codec: u8,
    /// Of the record that comes after all of it.
    pub next_offset: i64,
    /// Where its records lie in the fetch, compressed.
    pub payload: Range<usize>,
}

/// What comes next in a fetch.
pub enum Next {
    Batch(Batch),
    /// Nothing that is whole.
    End,
    Doubt,
}

/// The batch that begins at a place.
pub fn next_batch(fetch: &[u8], at: usize) -> Next {
    let rest = &fetch[at.min(fetch.len())..];
    let Some(length) = int(rest, 8) else { return Next::End };
    let Ok(length) = usize::try_from(length) else { return Next::Doubt };
    let Some(whole) = rest.get(..BEFORE_LENGTH + length) else { return Next::End };
    if whole.len() < HEADER_BYTES || whole[MAGIC_AT] != 2 {
        return Next::Doubt;
    }
    batch_of(whole, at).map_or(Next::Doubt, Next::Batch)
}

fn batch_of(whole: &[u8], at: usize) -> Option<Batch> {
    if u32::from_be_bytes(whole[CRC_AT..ATTRIBUTES_AT].try_into().ok()?)
        != crc32c::crc32c(&whole[ATTRIBUTES_AT..])
    {
        return None;
    }
    let attributes = whole[ATTRIBUTES_AT + 1];
    let base_offset = long(whole, 0)?;
    let codec = attributes & 0x07;
    (codec <= 4).then_some(Batch {
        base_offset,
        first_timestamp: long(whole, 27)?,
        max_timestamp: long(whole, 35)?,
        record_count: int(whole, 57)?,
        is_append_time: attributes & 0x08 != 0,
        is_control: attributes & 0x20 != 0,
        codec,
        next_offset: base_offset.checked_add(i64::from(int(whole, 23)?))?.checked_add(1)?,
        payload: at + HEADER_BYTES..at + whole.len(),
    })
}

/// The records of a batch, which lie there in `data`.
pub fn places_of(batch: &Batch, data: &[u8], within: Range<usize>) -> Option<Vec<Place>> {
    let mut reader = Reader { data: data.get(..within.end)?, at: within.start };
    let count = usize::try_from(batch.record_count).ok()?;
    // A count that lies costs nothing: a record has some bytes.
    let mut places = Vec::with_capacity(count.min(within.len() / 6));
    for _ in 0..count {
        places.push(reader.record(batch)?);
    }
    (reader.at == within.end).then_some(places)
}

fn int(data: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn long(data: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn record(&mut self, batch: &Batch) -> Option<Place> {
        let length = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(length)?;
        self.at += 1; // attributes, which have no meaning yet
        let timestamp_delta = self.varint()?;
        let offset = batch.base_offset.checked_add(self.varint()?)?;
        let timestamp = if batch.is_append_time {
            batch.max_timestamp
        } else {
            batch.first_timestamp.checked_add(timestamp_delta)?
        };
        let (key, value) = (self.bytes()?, self.bytes()?);
        let header_count = u32::try_from(self.varint()?).ok()?;
        let headers_at = self.at;
        for _ in 0..header_count {
            let (at, length) = self.bytes()??;
            std::str::from_utf8(&self.data[at as usize..(at + length) as usize]).ok()?;
            self.bytes()?;
        }
        let headers = (u32::try_from(headers_at).ok()?, u32::try_from(self.at).ok()?);
        let is_append_time = batch.is_append_time;
        (self.at == end).then_some(Place {
            offset,
            timestamp,
            is_append_time,
            key,
            value,
            headers,
            header_count,
        })
    }

    /// The outer None: they are not whole.
    fn bytes(&mut self) -> Option<Span> {
        let Ok(length) = usize::try_from(self.varint()?) else { return Some(None) };
        let (at, end) = (self.at, self.at.checked_add(length)?);
        if end > self.data.len() {
            return None;
        }
        self.at = end;
        Some(Some((u32::try_from(at).ok()?, u32::try_from(length).ok()?)))
    }

    fn varint(&mut self) -> Option<i64> {
        let mut found = 0_u64;
        for place in 0..MAX_VARINT_BYTES {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            // Of the tenth byte 64 bits have room for one bit.
            if place == MAX_VARINT_BYTES - 1 && bits > 1 {
                return None;
            }
            found |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return Some((found >> 1).cast_signed() ^ -((found & 1).cast_signed()));
            }
        }
        None
    }
}

/// Names and values of headers, as they lie in a record.
pub fn headers_in(data: &[u8], headers: (u32, u32)) -> Vec<(&str, Option<&[u8]>)> {
    let mut reader = Reader { data: &data[..headers.1 as usize], at: headers.0 as usize };
    let mut found = Vec::new();
    while reader.at < reader.data.len() {
        let part = |span: (u32, u32)| &data[span.0 as usize..(span.0 + span.1) as usize];
        let (Some(Some(name)), Some(value)) = (reader.bytes(), reader.bytes()) else { break };
        found.push((std::str::from_utf8(part(name)).unwrap_or_default(), value.map(part)));
    }
    found
}

/// Writes a header as it lies in a record.
pub fn write_header(data: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    write_bytes(data, Some(name));
    write_bytes(data, value);
}

/// Writes how many bytes there are, and the bytes.
pub fn write_bytes(data: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint(data, bytes.map_or(-1, |bytes| bytes.len().cast_signed() as i64));
    data.extend_from_slice(bytes.unwrap_or_default());
}

/// Writes a number.
pub fn varint(data: &mut Vec<u8>, number: i64) {
    let mut left = (number << 1 ^ number >> 63).cast_unsigned();
    while left >= 0x80 {
        data.push(left as u8 & 0x7f | 0x80);
        left >>= 7;
    }
    data.push(left as u8);
}
