//! Strict JSON, as far as there is no doubt that Python's readers (msgspec, orjson) take it for the same.
//!
//! Whatever is rare, or read differently by anybody, is `Unsure`: Python decides what it is.

use std::borrow::Cow;

use super::limits::MAX_CONTAINERS;
use crate::unsure::{Sure, Unsure};

/// Levels of arrays and objects that are surely below every limit.
const MAX_LEVELS: u32 = 64;
/// Longer numbers are left to Python.
const MAX_NUMBER_BYTES: usize = 200;

const NOT_JSON: Unsure = Unsure("json");
/// A one in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// A value of which no more is read than is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value<'a> {
    #[default]
    Absent,
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    /// An array or an object.
    Container,
}

/// A place to come back to.
#[derive(Clone, Copy)]
pub struct Mark {
    at: usize,
    levels: u32,
    containers: usize,
}

/// Reads one text from its beginning to its end.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    levels: u32,
    containers: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Sure<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| NOT_JSON)?;
        Ok(Self { text, at: 0, levels: 0, containers: 0 })
    }

    /// The next byte that is no white space, 0 at the end. It is not taken.
    pub fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Where the next value begins.
    pub fn place(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// The text from a place to where the last value ended.
    pub fn since(&self, place: usize) -> &'a str {
        &self.text[place..self.at]
    }

    pub fn mark(&self) -> Mark {
        Mark { at: self.at, levels: self.levels, containers: self.containers }
    }

    /// Read on from a place where it was before.
    pub fn back(&mut self, mark: Mark) {
        Mark { at: self.at, levels: self.levels, containers: self.containers } = mark;
    }

    /// Pass over the next value, if it is this one: a container that was read before, with this many in it.
    pub fn pass(&mut self, known: &str, containers: usize) -> bool {
        self.peek();
        let is_next = self.text.as_bytes()[self.at..].starts_with(known.as_bytes());
        if is_next {
            self.at += known.len();
            self.containers += containers;
        }
        is_next
    }

    /// How many arrays and objects it has met.
    pub fn containers(&self) -> usize {
        self.containers
    }

    /// Nothing but white space follows.
    pub fn end(&mut self) -> Sure<()> {
        if self.peek() == 0 && self.at == self.text.len() { Ok(()) } else { Err(NOT_JSON) }
    }

    /// Calls `member` with each name; it has to take the value.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Sure<()>) -> Sure<()> {
        self.open(b'{')?;
        if self.peek() == b'}' {
            return self.close();
        }
        loop {
            let name = self.name()?;
            self.take(b':')?;
            member(self, name)?;
            match self.peek() {
                b',' => self.at += 1,
                b'}' => return self.close(),
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// Calls `item` before each item of an array; it has to take it.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Sure<()>) -> Sure<()> {
        self.open(b'[')?;
        if self.peek() == b']' {
            return self.close();
        }
        loop {
            item(self)?;
            match self.peek() {
                b',' => self.at += 1,
                b']' => return self.close(),
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// A text.
    pub fn string(&mut self) -> Sure<Cow<'a, str>> {
        self.take(b'"')?;
        let from = self.at;
        let bytes = self.text.as_bytes();
        self.at += plain_bytes(&bytes[from..]);
        match bytes.get(self.at) {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.text[from..self.at - 1]))
            }
            Some(b'\\') => self.escaped(from).map(Cow::Owned),
            _ => Err(NOT_JSON),
        }
    }

    /// A text without escapes: names are compared as they stand.
    fn name(&mut self) -> Sure<&'a str> {
        match self.string()? {
            Cow::Borrowed(name) => Ok(name),
            Cow::Owned(_) => Err(Unsure("escaped_name")),
        }
    }

    /// A whole number that is not negative, written in digits alone.
    pub fn whole(&mut self) -> Sure<i64> {
        self.peek();
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_plain = (1..=19).contains(&count) && (count == 1 || rest[0] != b'0');
        if !is_plain || matches!(rest.get(count), Some(b'.' | b'e' | b'E')) {
            return Err(Unsure("number"));
        }
        let found = self.text[self.at..self.at + count].parse().map_err(|_| Unsure("number"))?;
        self.at += count;
        Ok(found)
    }

    /// `null`, if it stands there: it is taken then.
    pub fn null(&mut self) -> Sure<bool> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        self.word("null").map(|()| true)
    }

    /// Any value, of which what stands inside of containers is checked and passed over.
    pub fn value(&mut self) -> Sure<Value<'a>> {
        Ok(match self.peek() {
            b'"' => Value::Text(self.string()?),
            b'{' => {
                self.object(|reader, _| reader.skip())?;
                Value::Container
            }
            b'[' => {
                self.array(Self::skip)?;
                Value::Container
            }
            b't' => {
                self.word("true")?;
                Value::Bool(true)
            }
            b'f' => {
                self.word("false")?;
                Value::Bool(false)
            }
            b'n' => {
                self.word("null")?;
                Value::Null
            }
            _ => Value::Number(self.number()?),
        })
    }

    /// Checks any value and passes over it.
    pub fn skip(&mut self) -> Sure<()> {
        self.value().map(drop)
    }

    fn number(&mut self) -> Sure<f64> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut at = usize::from(rest.first() == Some(&b'-'));
        let count = digits(at);
        if count == 0 || (count > 1 && rest[at] == b'0') {
            return Err(NOT_JSON);
        }
        at += count;
        if rest.get(at) == Some(&b'.') {
            let count = digits(at + 1);
            if count == 0 {
                return Err(NOT_JSON);
            }
            at += 1 + count;
        }
        if matches!(rest.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(rest.get(at + 1), Some(b'+' | b'-')));
            let count = digits(at);
            if count == 0 {
                return Err(NOT_JSON);
            }
            at += count;
        }
        let found: f64 = self.text[self.at..self.at + at].parse().map_err(|_| NOT_JSON)?;
        // Some send the largest double. What is beyond it nobody takes.
        if at > MAX_NUMBER_BYTES || !found.is_finite() {
            return Err(Unsure("number"));
        }
        self.at += at;
        Ok(found)
    }

    fn escaped(&mut self, from: usize) -> Sure<String> {
        let bytes = self.text.as_bytes();
        let mut text = String::from(&self.text[from..self.at]);
        let mut from = self.at;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => {
                    text.push_str(&self.text[from..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    text.push_str(&self.text[from..self.at]);
                    text.push(self.escape()?);
                    from = self.at;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(NOT_JSON),
            }
        }
    }

    /// The character of the escape that begins here.
    fn escape(&mut self) -> Sure<char> {
        let found = match self.text.as_bytes().get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.of_code(),
            _ => return Err(NOT_JSON),
        };
        self.at += 2;
        Ok(found)
    }

    fn of_code(&mut self) -> Sure<char> {
        let high = self.code()?;
        if !(0xd800..0xe000).contains(&high) {
            return char::from_u32(high).ok_or(NOT_JSON);
        }
        let low = self.code()?;
        if high >= 0xdc00 || !(0xdc00..0xe000).contains(&low) {
            return Err(NOT_JSON);
        }
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(NOT_JSON)
    }

    /// The number of an escape of the form `\u` and four digits.
    fn code(&mut self) -> Sure<u32> {
        let bytes = self.text.as_bytes();
        let digits = bytes.get(self.at + 2..self.at + 6).ok_or(NOT_JSON)?;
        if &bytes[self.at..self.at + 2] != b"\\u" || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NOT_JSON);
        }
        self.at += 6;
        u32::from_str_radix(&self.text[self.at - 4..self.at], 16).map_err(|_| NOT_JSON)
    }

    fn open(&mut self, bracket: u8) -> Sure<()> {
        self.take(bracket)?;
        self.levels += 1;
        self.containers += 1;
        if self.levels > MAX_LEVELS || self.containers > MAX_CONTAINERS {
            return Err(Unsure("shape"));
        }
        Ok(())
    }

    fn close(&mut self) -> Sure<()> {
        self.at += 1;
        self.levels -= 1;
        Ok(())
    }

    fn take(&mut self, wanted: u8) -> Sure<()> {
        if self.peek() != wanted {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Sure<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(NOT_JSON);
        }
        self.at += word.len();
        Ok(())
    }
}

/// How many bytes stand before the first one that ends a text, is an escape or may not stand in one.
fn plain_bytes(bytes: &[u8]) -> usize {
    let is_plain = |byte: &u8| *byte >= 0x20 && !matches!(byte, b'"' | b'\\');
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The lowest byte that this marks is the first one; above it there may be others that are plain.
        let marked = |one: u64, other: u64| one.wrapping_sub(other) & !one & (0x80 * EACH);
        let found = marked(word, 0x20 * EACH)
            | marked(word ^ (u64::from(b'"') * EACH), EACH)
            | marked(word ^ (u64::from(b'\\') * EACH), EACH);
        if found != 0 {
            return 8 * number + found.trailing_zeros() as usize / 8;
        }
    }
    8 * words.len() + rest.iter().take_while(|byte| is_plain(byte)).count()
}
