//! The common forms of log records and spans in protobuf.

use super::message::{Attributes, LogRecord, MAX_ATTRIBUTES, SpanRecord, Value};
use super::wire::{NOT_QUICK, Wire};
use crate::unsure::{Sure, Unsure};

/// A log record.
pub fn quick_log(raw: &[u8]) -> Sure<LogRecord<'_>> {
    let mut record = LogRecord::default();
    let mut pairs = Vec::with_capacity(16);
    let mut wire = Wire::new(raw);
    while !wire.is_done() {
        match wire.byte()? {
            0x09 => record.time_ns = u64::from_le_bytes(wire.fixed()?),
            0x59 => record.observed_ns = u64::from_le_bytes(wire.fixed()?),
            0x10 => record.severity_number = wire.small()?,
            0x1a => record.severity_text = wire.text()?,
            0x2a if record.body.is_none() => match value_of(wire.content()?)? {
                Value::Text(text) => record.body = Some(text),
                _ => return Err(Unsure("body")),
            },
            0x32 => pairs.push(pair_of(wire.content()?)?),
            0x4a => record.trace_id = id_of(wire.content()?),
            0x52 => record.span_id = id_of(wire.content()?),
            0x62 => record.event_name = wire.text()?,
            0x38 => _ = wire.varint()?,     // How many attributes were dropped.
            0x45 => _ = wire.fixed::<4>()?, // Flags.
            _ => return Err(NOT_QUICK),
        }
    }
    record.attributes = attributes_of(pairs)?;
    Ok(record)
}

/// A span without events and links.
pub fn quick_span(raw: &[u8]) -> Sure<SpanRecord<'_>> {
    let mut span = SpanRecord::default();
    let mut pairs = Vec::with_capacity(16);
    let mut status = None;
    let mut wire = Wire::new(raw);
    while !wire.is_done() {
        match wire.byte()? {
            0x0a => span.trace_id = id_of(wire.content()?),
            0x12 => span.span_id = id_of(wire.content()?),
            0x1a => span.trace_state = wire.text()?,
            0x22 => span.parent_id = id_of(wire.content()?),
            0x2a => span.name = wire.text()?,
            0x30 => span.kind = wire.small()?,
            0x39 => span.start_ns = u64::from_le_bytes(wire.fixed()?),
            0x41 => span.end_ns = u64::from_le_bytes(wire.fixed()?),
            0x4a => pairs.push(pair_of(wire.content()?)?),
            0x50 | 0x60 | 0x70 => _ = wire.varint()?, // How many of something were dropped.
            0x7a if status.is_none() => status = Some(status_of(wire.content()?)?),
            0x85 if wire.byte()? == 1 => _ = wire.fixed::<4>()?, // Flags.
            _ => return Err(NOT_QUICK),
        }
    }
    (span.status_code, span.status_message) = status.unwrap_or_default();
    span.attributes = attributes_of(pairs)?;
    Ok(span)
}

fn attributes_of<'a>(pairs: Vec<(&'a str, Value<'a>)>) -> Sure<Attributes<'a>> {
    if pairs.len() > MAX_ATTRIBUTES { Err(Unsure("size")) } else { Ok(Attributes::of(pairs)) }
}

fn status_of(raw: &[u8]) -> Sure<(u8, &str)> {
    let (mut code, mut message) = (0, "");
    let mut wire = Wire::new(raw);
    while !wire.is_done() {
        match wire.byte()? {
            0x12 => message = wire.text()?,
            0x18 => code = wire.small()?,
            _ => return Err(NOT_QUICK),
        }
    }
    Ok((code, message))
}

/// An id; empty for one of zeros, which is none.
fn id_of(raw: &[u8]) -> &[u8] {
    if raw.iter().all(|byte| *byte == 0) { &[] } else { raw }
}

/// An attribute: its key and its value.
fn pair_of(raw: &[u8]) -> Sure<(&str, Value<'_>)> {
    let mut wire = Wire::new(raw);
    if wire.byte()? != 0x0a {
        return Err(NOT_QUICK);
    }
    let key = wire.text()?;
    if wire.byte()? != 0x12 {
        return Err(NOT_QUICK);
    }
    let value = value_of(wire.content()?)?;
    if wire.is_done() { Ok((key, value)) } else { Err(NOT_QUICK) }
}

/// A single value of one field.
fn value_of(raw: &[u8]) -> Sure<Value<'_>> {
    let mut wire = Wire::new(raw);
    let value = match wire.byte().map_err(|_| Unsure("value"))? {
        0x0a => Value::Text(wire.text()?),
        0x10 => Value::Bool(wire.varint()? != 0),
        0x18 => Value::Int(wire.varint()?.cast_signed()),
        0x21 => {
            let value = f64::from_le_bytes(wire.fixed()?);
            if !value.is_finite() {
                return Err(Unsure("number"));
            }
            Value::Double(value)
        }
        _ => return Err(Unsure("value")),
    };
    if wire.is_done() { Ok(value) } else { Err(NOT_QUICK) }
}
