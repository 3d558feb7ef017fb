//! The numbers in the definition of a session.

use std::sync::Arc;

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
    /// Of a version that was published.
    pub dated: Option<Dated>,
}

/// What a published version says besides its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Dated {
    pub version: i64,
    pub from_ms: i64,
    pub came_at: i64,
    /// What holds for earlier events.
    pub before: Arc<Policy>,
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
            dated: None,
        })
    }

    /// This policy and those before it, the newest first.
    pub fn versions(&self) -> impl Iterator<Item = (&Self, &Dated)> {
        std::iter::successors(Some(self), |policy| Some(&*policy.dated.as_ref()?.before))
            .map_while(|policy| Some((policy, policy.dated.as_ref()?)))
    }

    /// The version under which a session counts that began at a time, as was known by the offset `reach`; 0: none.
    pub fn version_at(&self, time_ms: i64, reach: i64) -> i64 {
        self.versions()
            .find(|(_, each)| time_ms >= each.from_ms && each.came_at <= reach)
            .map_or(0, |(_, each)| each.version)
    }

    /// Whether a version that came after the offset `since` is of events of a time, or of earlier ones.
    pub fn covers(&self, time_ms: i64, since: i64) -> bool {
        self.versions().take_while(|(_, each)| each.came_at > since).any(|(_, each)| each.from_ms <= time_ms)
    }
}
