//! What an OTLP message holds.

use std::borrow::Cow;

use crate::formats::hashed_ids::write_hex;
use crate::formats::strict_json::{boolean, double, number, quoted};
use crate::unsure::{Sure, Unsure};

/// Of a record.
pub const MAX_ATTRIBUTES: usize = 1_024;

/// A single value of an attribute. Arrays, maps and bytes are left to Python.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    /// Finite.
    Double(f64),
    Bool(bool),
    /// An id, which JSON has in hexadecimal digits.
    Id(&'a [u8]),
}

impl<'a> Value<'a> {
    pub fn text(self) -> Option<&'a str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// Whether it is true, as Python has it.
    pub fn is_true(self) -> bool {
        match self {
            Value::Text(text) => !text.is_empty(),
            Value::Int(value) => value != 0,
            Value::Double(value) => value != 0.0,
            Value::Bool(value) => value,
            Value::Id(id) => !id.is_empty(),
        }
    }

    /// Whether Python takes the two for equal, where `True` is 1 and 1.0.
    pub fn is_same(self, other: Self) -> Sure<bool> {
        match (self, other) {
            (Value::Text(one), Value::Text(two)) => Ok(one == two),
            (Value::Int(one), Value::Int(two)) => Ok(one == two),
            (Value::Bool(one), Value::Bool(two)) => Ok(one == two),
            (Value::Double(one), Value::Double(two)) => Ok(one == two),
            (Value::Text(_), Value::Int(_) | Value::Bool(_) | Value::Double(_)) => Ok(false),
            (Value::Int(_) | Value::Bool(_) | Value::Double(_), Value::Text(_)) => Ok(false),
            _ => Err(Unsure("value")),
        }
    }

    /// As JSON.
    pub fn write(self, out: &mut Vec<u8>) -> Sure<()> {
        match self {
            Value::Text(text) => quoted(out, text),
            Value::Int(value) => number(out, value),
            Value::Double(value) => return double(out, value),
            Value::Bool(value) => out.extend(boolean(value).bytes()),
            Value::Id(id) => {
                out.push(b'"');
                write_hex(out, id);
                out.push(b'"');
            }
        }
        Ok(())
    }
}

/// Attributes in the order of their names, each name once.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Attributes<'a> {
    /// Of those of one name the last.
    pub fn of(mut pairs: Vec<(&'a str, Value<'a>)>) -> Self {
        pairs.sort_by_key(|pair| pair.0);
        let mut found: Vec<(Cow<'a, str>, Value<'a>)> = Vec::with_capacity(pairs.len() + 2);
        for (name, value) in pairs {
            match found.last_mut() {
                Some(last) if last.0 == name => last.1 = value,
                _ => found.push((Cow::Borrowed(name), value)),
            }
        }
        Self(found)
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|pair| pair.0.as_ref().cmp(name))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pair| pair.0.as_ref())
    }

    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.place(name).ok().map(|at| self.0[at].1)
    }

    /// The attribute, if it is a text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::text)
    }

    pub fn pop(&mut self, name: &str) -> Option<Value<'a>> {
        self.place(name).ok().map(|at| self.0.remove(at).1)
    }

    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: Value<'a>) {
        let name = name.into();
        match self.place(&name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// As JSON. What was written is worth nothing where there is a doubt.
    pub fn write(&self, out: &mut Vec<u8>) -> Sure<()> {
        let mut before = b'{';
        for (name, value) in &self.0 {
            out.push(before);
            quoted(out, name);
            out.push(b':');
            value.write(out)?;
            before = b',';
        }
        out.extend(if self.0.is_empty() { &b"{}"[..] } else { b"}" });
        Ok(())
    }
}

/// Of opentelemetry/proto/logs/v1.
#[derive(Debug, Default)]
pub struct LogRecord<'a> {
    /// 0 if it is not there; so all that is a number.
    pub time_ns: u64,
    pub observed_ns: u64,
    pub severity_number: u8,
    pub severity_text: &'a str,
    pub body: Option<&'a str>,
    pub attributes: Attributes<'a>,
    /// As it came; empty for none, or for one of zeros.
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub event_name: &'a str,
}

/// Of opentelemetry/proto/trace/v1, without events and links.
#[derive(Debug, Default)]
pub struct SpanRecord<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub parent_id: &'a [u8],
    pub trace_state: &'a str,
    pub name: &'a str,
    pub kind: u8,
    pub start_ns: u64,
    /// 0 while it is not ended.
    pub end_ns: u64,
    pub attributes: Attributes<'a>,
    pub status_code: u8,
    pub status_message: &'a str,
}
