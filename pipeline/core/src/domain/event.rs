//! One fact about a device, reduced to what the fold needs.

use super::Text;
use super::event_id::EventId;

/// What an event means to a session (SESSIONS.md, "Event kinds"). States of devices hold the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Foreground,
    Launch,
    Activity,
    SessionEnd,
    Background,
    Crash,
    Exception,
    Anr,
    Exit,
    Active,
    Passive,
}

const KINDS: [Kind; 11] = [
    Kind::Foreground,
    Kind::Launch,
    Kind::Activity,
    Kind::SessionEnd,
    Kind::Background,
    Kind::Crash,
    Kind::Exception,
    Kind::Anr,
    Kind::Exit,
    Kind::Active,
    Kind::Passive,
];

impl Kind {
    pub fn of(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|number| KINDS.get(number)).copied()
    }

    /// The name in tables, which is also why a session ended.
    pub fn label(self) -> &'static str {
        match self {
            Self::Foreground => "foreground",
            Self::Launch => "launch",
            Self::Activity => "activity",
            Self::SessionEnd => "session_end",
            Self::Background => "background",
            Self::Crash => "crash",
            Self::Exception => "exception",
            Self::Anr => "anr",
            Self::Exit => "exit",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// Settles the order of events of one millisecond.
    pub fn rank(self) -> u8 {
        const RANK: [u8; 11] = [0, 1, 2, 3, 3, 4, 4, 4, 5, 0, 6];
        RANK[self as usize]
    }
}

/// What is known of the app at an event, or what the event itself states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum AppState {
    #[default]
    Unknown,
    Foreground,
    Background,
}

impl AppState {
    pub fn of(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Foreground),
            2 => Some(Self::Background),
            _ => None,
        }
    }

    /// The name in tables; empty where nothing is known.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Foreground => "foreground",
            Self::Background => "background",
        }
    }

    /// This, or the other where this is not known.
    pub fn or(self, other: Self) -> Self {
        if self == Self::Unknown { other } else { self }
    }
}

/// As in `pipeline/domain/event.py`, in that order; bit i of `Event.counters` adds one to number i.
pub const COUNTERS: usize = COUNTER_NAMES.len();
pub const COUNTER_NAMES: [&str; 9] = [
    "crash_count",
    "anr_count",
    "exception_count",
    "network_count",
    "network_error_count",
    "tap_count",
    "view_count",
    "log_error_count",
    "appearance_count",
];
pub const CRASH: u16 = 1;
pub const ANR: u16 = 1 << 1;
pub const EXCEPTION: u16 = 1 << 2;
pub const NETWORK: u16 = 1 << 3;
pub const NETWORK_ERROR: u16 = 1 << 4;
pub const TAP: u16 = 1 << 5;
pub const VIEW: u16 = 1 << 6;
pub const LOG_ERROR: u16 = 1 << 7;
pub const APPEARANCE: u16 = 1 << 8;
pub const VIEWS: usize = 6;
pub const APPEARANCES: usize = 8;

/// An event as the fold sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub time_ms: i64,
    pub seq: i64,
    pub id: EventId,
    pub kind: Kind,
    pub client: Text,
    pub exit_reason: Text,
    pub counters: u16,
    pub resource: Text,
    pub user: Text,
    pub stated: AppState,
}

impl Event {
    /// Its place in the order of its device.
    pub fn place(&self) -> (i64, u8, i64, &[u8]) {
        (self.time_ms, self.kind.rank(), self.seq, self.id.as_bytes())
    }
}
