//! What the fold remembers of a device between two events.

use super::Text;
use super::event::AppState;
use super::session::Session;
use super::stitching::Stitched;

/// SDK session ids that are remembered of a device.
pub const MAX_KNOWN: usize = 8;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoldState {
    pub open: Option<Box<Session>>,
    /// The session before the open one; later events may still add to it or sharpen why it ended.
    pub prev: Option<Box<Session>>,
    pub app_state: AppState,
    pub stitched: Option<Stitched>,
    /// The last different SDK session ids that sessions took; the one taken last is the last.
    pub known: Vec<Text>,
    /// When a window of the open session was last shown beside what was in front already.
    pub shown_ms: Option<i64>,
}

impl FoldState {
    /// The sessions that later events may still change.
    pub fn held(&self) -> impl Iterator<Item = &Session> {
        self.prev.iter().chain(&self.open).map(|session| &**session)
    }

    /// Ids of the events that the sessions held are named by.
    pub fn names(&self) -> Vec<Text> {
        self.held().map(|session| session.first_event_id.clone()).collect()
    }
}
