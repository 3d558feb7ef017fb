//! The attribute block that every event and span of a Measure body carries: who sent it, and what it says besides.

use super::blocks::{Member, found, members, text_of};
use crate::formats::json::{Reader, Value};
use crate::formats::limits::{MAX_ID_CHARS, MAX_RESOURCE_BYTES};
use crate::formats::strict_json::quoted;
use crate::formats::translation::Sender;
use crate::unsure::{Sure, Unsure};

/// Of these the last that were read are known again.
const KNOWN_BLOCKS: usize = 16;
const ID: Unsure = Unsure("id");

/// What a block says.
pub struct Block<'a> {
    raw: &'a str,
    containers: usize,
    /// The index of who sent it.
    pub sender: usize,
    pub is_ios: bool,
    /// Of the single event: name, and JSON as it came.
    pub facts: Vec<(&'a str, &'a str)>,
}

/// The blocks of a body that were read: most of its events carry the same.
#[derive(Default)]
pub struct Blocks<'a> {
    blocks: Vec<Block<'a>>,
    pub senders: Vec<Sender>,
}

impl<'a> Blocks<'a> {
    /// The index of the block that comes next.
    pub fn next(&mut self, reader: &mut Reader<'a>) -> Sure<usize> {
        let known = self.blocks.iter().enumerate().rev().take(KNOWN_BLOCKS);
        for (at, block) in known {
            if reader.pass(block.raw, block.containers) {
                return Ok(at);
            }
        }
        let (place, before) = (reader.place(), reader.containers());
        let fields = members(reader)?;
        let (sender, facts) = read(&fields)?;
        let sender = self.senders.iter().position(|each| *each == sender).unwrap_or_else(|| {
            self.senders.push(sender);
            self.senders.len() - 1
        });
        self.blocks.push(Block {
            raw: reader.since(place),
            containers: reader.containers() - before,
            sender,
            is_ios: is_of_ios(&fields),
            facts,
        });
        Ok(self.blocks.len() - 1)
    }

    pub fn of(&self, at: usize) -> &Block<'a> {
        &self.blocks[at]
    }
}

/// Whether an attribute block is of an Apple device: by its platform or, where that names none, by its system.
fn is_of_ios(fields: &[Member]) -> bool {
    // No other letter becomes one of these in lower case.
    let is_ios = |system: &str| {
        let all = ["ios", "ipados", "tvos", "watchos", "visionos"];
        all.iter().any(|each| system.eq_ignore_ascii_case(each))
    };
    let platform = text_of(fields, "platform").unwrap_or_default();
    is_ios(platform)
        || !platform.eq_ignore_ascii_case("android") && text_of(fields, "os_name").is_some_and(is_ios)
}

/// Who sent, and the facts of the single event.
fn read<'a>(fields: &[Member<'a>]) -> Sure<(Sender, Vec<(&'a str, &'a str)>)> {
    let app_id = id_of(fields, "app_unique_id", &['/', '\0'])?;
    let device_id = id_of(fields, "installation_id", &['\0'])?;
    let mut user = Vec::new();
    if found(fields, "user_id").is_some_and(|member| member.raw != "\"\"") {
        user.extend(b"{\"id\":");
        quoted(&mut user, &id_of(fields, "user_id", &[])?);
        user.push(b'}');
    }
    let sdk_name = Value::Text("measure".into());
    let sdk = Member { name: "telemetry.sdk.name", raw: "\"measure\"", value: sdk_name, is_taken: false };
    let (mut resource, mut facts) = (vec![(sdk.name, &sdk)], Vec::new());
    for each in fields {
        if matches!(each.name, "app_unique_id" | "installation_id" | "user_id") {
            continue;
        }
        if let Some(name) = event_name(each.name) {
            facts.push((name, each.raw));
        } else if let Some(name) = resource_name(each.name) {
            resource.push((name, each));
        } else {
            facts.push((each.name, each.raw));
        }
    }
    if facts.iter().enumerate().any(|(at, (name, _))| facts[..at].iter().any(|(other, _)| other == name)) {
        return Err(Unsure("twice"));
    }
    let text = |bytes| String::from_utf8(bytes).map_err(|_| Unsure("json"));
    Ok((Sender { app_id, device_id, resource: text(canonical(resource)?)?, user: text(user)? }, facts))
}

/// The resource as canonical JSON: all values text, sorted by name.
fn canonical(mut facts: Vec<(&str, &Member)>) -> Sure<Vec<u8>> {
    facts.sort_unstable_by_key(|(name, _)| *name);
    let mut out = Vec::with_capacity(512);
    for (at, (name, member)) in facts.iter().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        quoted(&mut out, name);
        out.push(b':');
        match &member.value {
            Value::Text(text) => quoted(&mut out, text),
            Value::Container => return Err(Unsure("resource")),
            _ => quoted(&mut out, member.raw),
        }
    }
    out.push(b'}');
    if out.len() > MAX_RESOURCE_BYTES { Err(Unsure("resource")) } else { Ok(out) }
}

/// Facts of the attribute block that change from event to event; so may all that is not known here.
fn event_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "thread_name" => "thread.name",
        "network_type" => "network.connection.type",
        "network_provider" => "network.carrier.name",
        "device_low_power_mode" => "device_low_power_mode",
        "device_thermal_throttling_enabled" => "device_thermal_throttling_enabled",
        _ => return None,
    })
}

/// Facts of the attribute block that hold for the app, the device, the OS, the SDK.
fn resource_name(name: &str) -> Option<&str> {
    Some(match name {
        "app_version" => "service.version",
        "app_build" => "app.build_id",
        "os_name" => "os.name",
        "os_version" => "os.version",
        "device_manufacturer" => "device.manufacturer",
        "device_model" => "device.model.identifier",
        "device_name" => "device.model.name",
        "device_cpu_arch" => "host.arch",
        "measure_sdk_version" => "telemetry.sdk.version",
        "platform" => "platform",
        _ if ["app_", "device_", "os_"].iter().any(|prefix| name.starts_with(prefix)) => name,
        _ => return None,
    })
}

/// A field that has to be an id, without the characters that it must not hold.
fn id_of(fields: &[Member], name: &str, forbidden: &[char]) -> Sure<String> {
    let id = text_of(fields, name).ok_or(ID)?;
    if is_id(id) && !id.contains(forbidden) { Ok(id.to_owned()) } else { Err(ID) }
}

/// Whether a text is as long as an id may be.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && (text.len() <= MAX_ID_CHARS || text.chars().count() <= MAX_ID_CHARS)
}
