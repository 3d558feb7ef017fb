//! The numbers in the definition of a session.

/// All times in milliseconds; the order is that in which states of devices hold the numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub inactivity_timeout_ms: i64,
    pub max_duration_ms: i64,
    pub launch_grace_ms: i64,
    pub exit_grace_ms: i64,
    pub stitch_gap_ms: i64,
    pub stitch_max_duration_ms: i64,
    pub restate_horizon_ms: i64,
    pub restate_events: i64,
    pub idle_timeout_ms: i64,
    pub flicker_grace_ms: i64,
    pub state_ttl_ms: i64,
}

impl Policy {
    pub fn of(numbers: &[i64]) -> Option<Self> {
        let &[
            inactivity_timeout_ms,
            max_duration_ms,
            launch_grace_ms,
            exit_grace_ms,
            stitch_gap_ms,
            stitch_max_duration_ms,
            restate_horizon_ms,
            restate_events,
            idle_timeout_ms,
            flicker_grace_ms,
            state_ttl_ms,
        ] = numbers
        else {
            return None;
        };
        Some(Self {
            inactivity_timeout_ms,
            max_duration_ms,
            launch_grace_ms,
            exit_grace_ms,
            stitch_gap_ms,
            stitch_max_duration_ms,
            restate_horizon_ms,
            restate_events,
            idle_timeout_ms,
            flicker_grace_ms,
            state_ttl_ms,
        })
    }
}
