//! The wire format of protobuf, in the form that encoders write.

use crate::unsure::{Sure, Unsure};

pub const NOT_QUICK: Unsure = Unsure("form");

/// Reads one message from its beginning to its end.
pub struct Wire<'a> {
    raw: &'a [u8],
    at: usize,
}

impl<'a> Wire<'a> {
    pub fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.at == self.raw.len()
    }

    pub fn byte(&mut self) -> Sure<u8> {
        let byte = *self.raw.get(self.at).ok_or(NOT_QUICK)?;
        self.at += 1;
        Ok(byte)
    }

    /// A number below 128.
    pub fn small(&mut self) -> Sure<u8> {
        let byte = self.byte()?;
        if byte < 0x80 { Ok(byte) } else { Err(NOT_QUICK) }
    }

    /// A number of at most 64 bits.
    pub fn varint(&mut self) -> Sure<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
            if shift > 56 && self.raw.get(self.at).is_none_or(|last| *last > 1) {
                return Err(NOT_QUICK);
            }
        }
    }

    /// So many bytes.
    pub fn fixed<const N: usize>(&mut self) -> Sure<[u8; N]> {
        let found = self.raw[self.at..].first_chunk().ok_or(NOT_QUICK)?;
        self.at += N;
        Ok(*found)
    }

    /// The content of a field of bytes, whose tag is read.
    pub fn content(&mut self) -> Sure<&'a [u8]> {
        let size = usize::try_from(self.varint()?).map_err(|_| NOT_QUICK)?;
        let end = self.at.checked_add(size).ok_or(NOT_QUICK)?;
        let found = self.raw.get(self.at..end).ok_or(NOT_QUICK)?;
        self.at = end;
        Ok(found)
    }

    /// The same, a text.
    pub fn text(&mut self) -> Sure<&'a str> {
        std::str::from_utf8(self.content()?).map_err(|_| Unsure("utf8"))
    }
}
