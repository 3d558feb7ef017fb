//! A session: an interpretation of a device's events.

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};

use super::Text;
use super::event::{APPEARANCES, COUNTERS, VIEWS};
use crate::formats::json::Reader;

/// Why a session started.
pub mod start {
    pub const LAUNCH: &str = "launch";
    pub const FOREGROUND: &str = "foreground";
    pub const BACKGROUND: &str = "background";
    pub const CONTINUATION: &str = "continuation";
    pub const IMPLICIT: &str = "implicit";
}

/// Why a session ended. An exit record may put any other word of the system in its place.
pub mod end {
    pub const BACKGROUND: &str = "background";
    pub const FOREGROUND: &str = "foreground";
    pub const MANUAL: &str = "manual";
    pub const INACTIVITY: &str = "inactivity";
    pub const MAX_DURATION: &str = "max_duration";
    pub const SUPERSEDED: &str = "superseded";
    pub const UNCLEAN_EXIT: &str = "unclean_exit";
}

/// Of a session; whoever comes after them is its `user_id` while he is the last.
pub const MAX_USER_IDS: usize = 16;

/// Times are Unix milliseconds. `end_reason` is empty while the session is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub first_event_id: Text,
    pub started_at_ms: i64,
    pub start_reason: Text,
    pub foreground: bool,
    pub resource: Text,
    pub last_ms: i64,
    pub ended_at_ms: i64,
    pub end_reason: Text,
    pub exit_reason: Text,
    pub cold_start: bool,
    pub client: Text,
    pub user: Text,
    pub event_count: i64,
    pub counters: [i64; COUNTERS],
    pub stitched_first_event_id: Text,
    pub stitched_index: i64,
    pub user_id: Text,
    pub user_ids: Vec<Text>,
}

impl Session {
    /// Screens viewed; where the app tells of none, those that appeared.
    pub fn view_count(&self) -> i64 {
        if self.counters[VIEWS] != 0 { self.counters[VIEWS] } else { self.counters[APPEARANCES] }
    }

    pub fn is_open(&self) -> bool {
        self.end_reason.is_empty()
    }

    /// An event of the session names a user, who is not the one named last (SESSIONS.md, "Users").
    pub fn note_user(&mut self, user: &Text) {
        self.user = user.clone();
        let Some(rest) = user.strip_prefix("{\"id\":") else { return };
        let id = Reader::new(rest.as_bytes()).and_then(|mut reader| reader.string());
        let id: Text = id.expect("the user is canonical JSON").into();
        if !self.user_ids.contains(&id) && self.user_ids.len() < MAX_USER_IDS {
            self.user_ids.push(id.clone());
        }
        self.user_id = id;
    }

    /// How an open session is reported after silence: ended by inactivity at its latest event.
    pub fn as_quiet(&self) -> Self {
        debug_assert!(self.is_open(), "only an open session is ended by silence");
        Self { end_reason: end::INACTIVITY.into(), ended_at_ms: self.last_ms, ..self.clone() }
    }
}

/// The id of the session that begins with an event (SESSIONS.md, "The definition"), written behind a text.
pub fn write_session_id(out: &mut Vec<u8>, app_id: &str, device_id: &str, first_event_id: &str) {
    let mut hash = Blake2b::<U16>::new();
    for part in [app_id, "\0", device_id, "\0", first_event_id] {
        hash.update(part);
    }
    let mut digest = hash.finalize();
    // RFC 9562: version and variant.
    digest[6] = digest[6] & 0x0f | 0x80;
    digest[8] = digest[8] & 0x3f | 0x80;
    for (index, byte) in digest.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
        out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
    }
}
