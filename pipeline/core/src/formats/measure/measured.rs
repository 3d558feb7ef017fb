//! What Measure's events measured, under the names that all formats have in common.

use super::blocks::{Attributes, Member, Said, found};
use crate::formats::json::Value;
use crate::formats::strict_json::is_halfway;
use crate::unsure::{Sure, Unsure};

const NUMBER: Unsure = Unsure("number");
const LONGEST_START_MS: i64 = 60_000;
const KIB: i64 = 1_024;
const PERCENT: f64 = 100.0;
/// Digits of a share, behind the point.
const DIGITS: usize = 6;
/// Whole numbers of so many digits are exact, also as doubles.
const MAX_DIGITS: usize = 15;

/// Add what an event of a type measured, by the fields of its block.
pub fn measured(type_: &str, fields: &[Member], is_ios: bool, attributes: &mut Attributes) -> Sure<()> {
    match type_ {
        "cold_launch" => start(
            "cold",
            &["process_start_requested_uptime", "process_start_uptime", "content_provider_attach_uptime"],
            fields,
            attributes,
        ),
        "warm_launch" => start("warm", &["app_visible_uptime"], fields, attributes),
        "hot_launch" => start("hot", &["app_visible_uptime"], fields, attributes),
        "cpu_usage" => {
            if let Some(share) = share(fields, is_ios)? {
                attributes.add("process.cpu.utilization", Said::Double(rounded(share)?));
            }
            Ok(())
        }
        "memory_usage" => memory(fields, attributes),
        "memory_usage_absolute" => {
            if let Some(used) = whole(found(fields, "used_memory"))? {
                attributes.add("process.memory.usage", Said::Int(used * KIB));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Of all processors together, from 0 to 1; none where it is not told.
fn share(fields: &[Member], is_ios: bool) -> Sure<Option<f64>> {
    let Some(percent) = number(found(fields, "percentage_usage"))? else {
        return Ok(None);
    };
    if !is_ios {
        return Ok(Some(percent / PERCENT));
    }
    let cores = number(found(fields, "num_cores"))?.filter(|cores| *cores >= 1.0);
    Ok(cores.map(|cores| percent / PERCENT / cores))
}

fn rounded(share: f64) -> Sure<f64> {
    if is_halfway(share, DIGITS) {
        return Err(NUMBER);
    }
    format!("{share:.DIGITS$}").parse().map_err(|_| NUMBER)
}

fn start(kind: &'static str, begins: &[&str], fields: &[Member], attributes: &mut Attributes) -> Sure<()> {
    let drawn = whole(found(fields, "on_next_draw_uptime"))?;
    let mut began = None;
    for name in begins {
        let at = whole(found(fields, name))?.filter(|at| *at != 0);
        began = began.or(at);
    }
    let (Some(drawn), Some(began)) = (drawn, began) else { return Ok(()) };
    if began < drawn && drawn <= began + LONGEST_START_MS {
        attributes.add("app.launch.type", Said::Word(kind));
        attributes.add("app.launch.duration_ms", Said::Int(drawn - began));
    }
    Ok(())
}

fn memory(fields: &[Member], attributes: &mut Attributes) -> Sure<()> {
    let told = |name| whole(found(fields, name));
    if let Some(resident) = told("rss")? {
        attributes.add("process.memory.usage", Said::Int(resident * KIB));
    }
    if let (Some(total), Some(free)) = (told("java_total_heap")?, told("java_free_heap")?)
        && free <= total
    {
        attributes.add("jvm.memory.used", Said::Int((total - free) * KIB));
    }
    Ok(())
}

/// A whole number that is not negative, where it is a number at all.
fn whole(member: Option<&Member>) -> Sure<Option<i64>> {
    let Some((raw, _)) = positive(member)? else { return Ok(None) };
    if is_whole(raw) { raw.parse().map(Some).map_err(|_| NUMBER) } else { Err(NUMBER) }
}

/// Whether a number is written in digits alone, and not in many.
pub fn is_whole(raw: &str) -> bool {
    raw.len() <= MAX_DIGITS && raw.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number that is not negative, where it is one at all.
fn number(member: Option<&Member>) -> Sure<Option<f64>> {
    let Some((_, value)) = positive(member)? else { return Ok(None) };
    if value < 10_f64.powi(MAX_DIGITS as i32) { Ok(Some(value)) } else { Err(NUMBER) }
}

/// A number as it came and as it is.
pub fn positive<'a>(member: Option<&Member<'a>>) -> Sure<Option<(&'a str, f64)>> {
    match member {
        Some(Member { raw, value: Value::Number(value), .. }) => {
            // There is a zero that is negative.
            if *value == 0.0 && raw.starts_with('-') {
                return Err(NUMBER);
            }
            Ok(Some((*raw, *value)).filter(|(_, value)| *value >= 0.0))
        }
        _ => Ok(None),
    }
}
