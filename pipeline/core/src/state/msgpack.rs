//! MessagePack, as msgspec writes it.

use crate::unsure::{Sure, Unsure};

/// What cannot be read: Python says why.
pub const DAMAGED: Unsure = Unsure("state");

pub fn int(out: &mut Vec<u8>, number: i64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend([0xcc, number as u8]),
        0x100..=0xffff => tagged(out, 0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => tagged(out, 0xce, &(number as u32).to_be_bytes()),
        0x1_0000_0000.. => tagged(out, 0xcf, &number.to_be_bytes()),
        -0x20..=-1 => out.push(number as u8),
        -0x80..=-0x21 => out.extend([0xd0, number as u8]),
        -0x8000..=-0x81 => tagged(out, 0xd1, &(number as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => tagged(out, 0xd2, &(number as i32).to_be_bytes()),
        _ => tagged(out, 0xd3, &number.to_be_bytes()),
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

pub fn text(out: &mut Vec<u8>, text: &str) {
    text_of(out, text.as_bytes());
}

/// The text that has these bytes.
pub fn text_of(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        size @ 0..=31 => out.push(0xa0 | size as u8),
        size @ 32..=0xff => out.extend([0xd9, size as u8]),
        size @ 0x100..=0xffff => tagged(out, 0xda, &(size as u16).to_be_bytes()),
        size => tagged(out, 0xdb, &(size as u32).to_be_bytes()),
    }
    out.extend_from_slice(bytes);
}

pub fn bin(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        size @ 0..=0xff => out.extend([0xc4, size as u8]),
        size @ 0x100..=0xffff => tagged(out, 0xc5, &(size as u16).to_be_bytes()),
        size => tagged(out, 0xc6, &(size as u32).to_be_bytes()),
    }
    out.extend_from_slice(bytes);
}

pub fn array(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=15 => out.push(0x90 | length as u8),
        16..=0xffff => tagged(out, 0xdc, &(length as u16).to_be_bytes()),
        _ => tagged(out, 0xdd, &(length as u32).to_be_bytes()),
    }
}

pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub fn optional(out: &mut Vec<u8>, number: Option<i64>) {
    match number {
        Some(number) => int(out, number),
        None => nil(out),
    }
}

/// Reads what the functions above wrote.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub fn place(&self) -> usize {
        self.at
    }

    pub fn since(&self, place: usize) -> &'a [u8] {
        &self.bytes[place..self.at]
    }

    pub fn int(&mut self) -> Sure<i64> {
        Ok(match self.byte()? {
            tag @ 0..=0x7f => i64::from(tag),
            tag @ 0xe0..=0xff => i64::from(tag as i8),
            0xcc => i64::from(self.byte()?),
            0xcd => i64::from(u16::from_be_bytes(self.some()?)),
            0xce => i64::from(u32::from_be_bytes(self.some()?)),
            0xcf => i64::try_from(u64::from_be_bytes(self.some()?)).map_err(|_| DAMAGED)?,
            0xd0 => i64::from(self.byte()? as i8),
            0xd1 => i64::from(i16::from_be_bytes(self.some()?)),
            0xd2 => i64::from(i32::from_be_bytes(self.some()?)),
            0xd3 => i64::from_be_bytes(self.some()?),
            _ => return Err(DAMAGED),
        })
    }

    /// A number that is not negative.
    pub fn number(&mut self) -> Sure<usize> {
        usize::try_from(self.int()?).map_err(|_| DAMAGED)
    }

    pub fn text(&mut self) -> Sure<&'a str> {
        let size = match self.byte()? {
            tag @ 0xa0..=0xbf => usize::from(tag & 31),
            0xd9 => usize::from(self.byte()?),
            0xda => usize::from(u16::from_be_bytes(self.some()?)),
            0xdb => u32::from_be_bytes(self.some()?) as usize,
            _ => return Err(DAMAGED),
        };
        std::str::from_utf8(self.take(size)?).map_err(|_| DAMAGED)
    }

    pub fn bin(&mut self) -> Sure<&'a [u8]> {
        let size = match self.byte()? {
            0xc4 => usize::from(self.byte()?),
            0xc5 => usize::from(u16::from_be_bytes(self.some()?)),
            0xc6 => u32::from_be_bytes(self.some()?) as usize,
            _ => return Err(DAMAGED),
        };
        self.take(size)
    }

    pub fn array(&mut self) -> Sure<usize> {
        Ok(match self.byte()? {
            tag @ 0x90..=0x9f => usize::from(tag & 15),
            0xdc => usize::from(u16::from_be_bytes(self.some()?)),
            0xdd => u32::from_be_bytes(self.some()?) as usize,
            _ => return Err(DAMAGED),
        })
    }

    /// An array of so many items.
    pub fn array_of(&mut self, length: usize) -> Sure<()> {
        if self.array()? == length { Ok(()) } else { Err(DAMAGED) }
    }

    pub fn boolean(&mut self) -> Sure<bool> {
        match self.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(DAMAGED),
        }
    }

    /// Nothing stands here; it is taken then.
    pub fn nil(&mut self) -> bool {
        let found = self.bytes.get(self.at) == Some(&0xc0);
        self.at += usize::from(found);
        found
    }

    /// These bytes stand here; they are taken then.
    pub fn are(&mut self, bytes: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(bytes);
        self.at += if found { bytes.len() } else { 0 };
        found
    }

    pub fn optional(&mut self) -> Sure<Option<i64>> {
        if self.nil() { Ok(None) } else { self.int().map(Some) }
    }

    fn byte(&mut self) -> Sure<u8> {
        Ok(self.take(1)?[0])
    }

    fn some<const N: usize>(&mut self) -> Sure<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| DAMAGED)
    }

    fn take(&mut self, size: usize) -> Sure<&'a [u8]> {
        let end = self.at.checked_add(size).ok_or(DAMAGED)?;
        let found = self.bytes.get(self.at..end).ok_or(DAMAGED)?;
        self.at = end;
        Ok(found)
    }
}
