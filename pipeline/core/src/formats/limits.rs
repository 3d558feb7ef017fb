//! What a record may hold. What is over a limit is left to Python, which refuses it with its reason.

pub const MAX_RECORD_BYTES: usize = 1_000_000;
pub const MAX_EVENTS: usize = 500;
/// Of a body of another format: the router splits it.
pub const MAX_BODY_EVENTS: usize = 1_500;
pub const MAX_BODY_BYTES: usize = 8_000_000;
/// Of all that one such body becomes.
pub const MAX_MADE_BYTES: usize = 8 * MAX_BODY_BYTES;
/// Arrays and objects, of a record.
pub const MAX_CONTAINERS: usize = 50_000;
/// Of a resource as canonical JSON.
pub const MAX_RESOURCE_BYTES: usize = 65_536;
/// Of app, device, batch, event, SDK session and user ids.
pub const MAX_ID_CHARS: usize = 128;
/// Of an uncorrected time.
pub const MAX_STAMP_MS: i64 = 9_999_999_999_999;
/// Of a corrected time.
pub const MIN_TIME_MS: i64 = 946_684_800_000;
pub const MAX_TIME_MS: i64 = 5_662_310_399_999;
/// How far an event may lie after its record's time: such are moved back.
pub const MAX_AHEAD_MS: i64 = 24 * 3_600_000;
/// A clock that is ahead by no more is taken as right.
pub const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// A record that was sent no longer before it arrived was delayed.
pub const MAX_DELAY_MS: i64 = 24 * 3_600_000;
/// Clocks are corrected by multiples of it.
pub const CLOCK_STEP_MS: i64 = 15 * 60_000;
/// A stamp from here to there is one of the years 2000 to 2100 in seconds.
pub const FIRST_SECONDS: i64 = 946_684_800;
pub const LAST_SECONDS: i64 = 4_102_444_800;
/// What DateTime64(3) can hold.
pub const FIRST_STORED_MS: i64 = -2_208_988_800_000;
pub const LAST_STORED_MS: i64 = 10_413_791_999_999;
