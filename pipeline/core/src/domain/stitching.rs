//! Stitched sessions: which sessions of a device belong to one visit (SESSIONS.md, "Stitched sessions").

use super::Text;
use super::policy::Policy;
use super::session::{Session, end};

/// The current stitched session of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Stitched {
    pub first_event_id: Text,
    pub started_at_ms: i64,
    pub members: i64,
    /// Latest end of any member; the start while none has ended.
    pub any_end_ms: i64,
    /// Latest end of a foreground member; None while there is none.
    pub foreground_end_ms: Option<i64>,
    pub ended_manually: bool,
}

impl Stitched {
    /// Whether a session that starts then joins.
    fn takes(&self, start_ms: i64, policy: &Policy) -> bool {
        let anchor_ms = self.foreground_end_ms.unwrap_or(self.any_end_ms);
        !self.ended_manually
            && start_ms - anchor_ms <= policy.stitch_gap_ms
            && start_ms - self.started_at_ms < policy.stitch_max_duration_ms
    }
}

/// Assign a session that has just opened to the current stitched session or to a new one.
pub fn join(current: Option<Stitched>, session: &mut Session, policy: &Policy) -> Stitched {
    let joined = match current {
        Some(current) if current.takes(session.started_at_ms, policy) => {
            Stitched { members: current.members + 1, ..current }
        }
        _ => Stitched {
            first_event_id: session.first_event_id.clone(),
            started_at_ms: session.started_at_ms,
            members: 1,
            any_end_ms: session.started_at_ms,
            foreground_end_ms: None,
            ended_manually: false,
        },
    };
    session.stitched_first_event_id = joined.first_event_id.clone();
    session.stitched_index = joined.members;
    joined
}

/// Move the anchor: a member has ended.
pub fn note_end(current: &mut Option<Stitched>, session: &Session) {
    let current = current.as_mut().expect("a session is stitched when it opens");
    current.any_end_ms = current.any_end_ms.max(session.ended_at_ms);
    if session.foreground {
        let ended_ms = session.ended_at_ms;
        current.foreground_end_ms =
            Some(current.foreground_end_ms.map_or(ended_ms, |earlier_ms| earlier_ms.max(ended_ms)));
    }
    if &*session.end_reason == end::MANUAL {
        current.ended_manually = true;
    }
}
