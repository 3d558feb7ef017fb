//! A chain of exceptions, each with its frames, as the text that a developer is used to read. Of what is no text where
//! one is expected Python makes one.

use std::borrow::Cow;

use super::blocks::{Member, found, members};
use super::measured::is_whole;
use crate::formats::json::{Reader, Value};
use crate::unsure::{Sure, Unsure};

const STACK: Unsure = Unsure("stack");
const MORE: &str = "… 99999999 lines more";

/// One exception of a chain.
pub struct Exception<'a> {
    pub type_: Cow<'a, str>,
    pub message: Cow<'a, str>,
    pub signal: Cow<'a, str>,
    /// Each as one reads it.
    frames: Vec<String>,
}

/// The chain in a JSON array; none in any other value.
pub fn chain_of<'a>(raw: &'a str) -> Sure<Vec<Exception<'a>>> {
    let mut chain = Vec::new();
    if raw.starts_with('[') {
        Reader::new(raw.as_bytes())?.array(|reader| {
            let fields = members(reader)?;
            let text = |name| text(&fields, name);
            let frames = match found(&fields, "frames") {
                Some(frames) => frames_of(frames.raw)?,
                None => Vec::new(),
            };
            let (type_, message, signal) = (text("type")?, text("message")?, text("signal")?);
            chain.push(Exception { type_, message, signal, frames });
            Ok(())
        })?;
    }
    Ok(chain)
}

/// Head lines and frames, the first exception first; empty if there is no frame at all.
pub fn stacktrace(chain: &[Exception], max_chars: usize) -> String {
    let frame_count = chain.iter().map(|exception| exception.frames.len()).sum::<usize>();
    if frame_count == 0 {
        return String::new();
    }
    let mut kept: Vec<Cow<str>> = Vec::new();
    let mut room = max_chars - MORE.chars().count();
    for line in lines(chain) {
        let Some(rest) = room.checked_sub(line.chars().count() + 1) else {
            kept.push(format!("… {} lines more", chain.len() + frame_count - kept.len()).into());
            break;
        };
        room = rest;
        kept.push(line);
    }
    kept.join("\n")
}

fn lines<'a>(chain: &'a [Exception]) -> impl Iterator<Item = Cow<'a, str>> {
    chain.iter().enumerate().flat_map(|(position, exception)| {
        let mut title = joined(&[&exception.type_, &exception.message], ": ");
        if title.is_empty() {
            title = if exception.signal.is_empty() { "unknown".into() } else { exception.signal.to_string() };
        }
        let head = if position == 0 { title } else { format!("Caused by: {title}") };
        let frames = exception.frames.iter().map(|place| Cow::Owned(format!("\tat {place}")));
        std::iter::once(Cow::Owned(head)).chain(frames)
    })
}

fn frames_of(raw: &str) -> Sure<Vec<String>> {
    let mut frames = Vec::new();
    Reader::new(raw.as_bytes())?
        .array(|reader| {
            frames.push(place(&members(reader)?)?);
            Ok(())
        })
        .map_err(|_| STACK)?;
    Ok(frames)
}

fn place(frame: &[Member]) -> Sure<String> {
    let text = |name| text(frame, name);
    let code = joined(&[&text("class_name")?, &text("method_name")?], ".");
    let mut source = format!("{}{}", text("module_name")?, text("file_name")?);
    let line = line_of(frame)?;
    if !source.is_empty() && line > 0 {
        source = format!("{source}:{line}");
    }
    if !source.is_empty() {
        return Ok(format!("{code}({source})"));
    }
    if !code.is_empty() {
        return Ok(code);
    }
    let addresses = [text("symbol_address")?, text("instruction_address")?, text("binary_address")?];
    let address = addresses.iter().find(|each| !each.is_empty()).map_or("", |each| &**each);
    let said = joined(&[&text("binary_name")?, address], " ");
    Ok(if said.is_empty() { "unknown".into() } else { said })
}

/// The number of a line; 0 for none.
fn line_of(frame: &[Member]) -> Sure<i64> {
    let Some(line) = found(frame, "line_num") else { return Ok(0) };
    match line.value {
        Value::Number(_) if is_whole(line.raw) => line.raw.parse().map_err(|_| STACK),
        Value::Number(number) if number < 0.0 => Ok(0),
        Value::Text(_) => Ok(0),
        _ => Err(STACK),
    }
}

/// What a field says; empty for nothing.
fn text<'a>(fields: &[Member<'a>], name: &str) -> Sure<Cow<'a, str>> {
    match found(fields, name).map(|member| &member.value) {
        None => Ok("".into()),
        Some(Value::Text(text)) => Ok(text.clone()),
        _ => Err(STACK),
    }
}

fn joined(parts: &[&str], between: &str) -> String {
    let said: Vec<_> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    said.join(between)
}
