//! What is a session? As `pipeline/domain`; `pipeline/SESSIONS.md` is the definition.

use std::sync::Arc;

pub mod event;
pub mod event_id;
pub mod fold;
pub mod fold_by_time;
pub mod fold_state;
pub mod policy;
pub mod session;
pub mod stitching;
pub mod taking;

/// A text that many events and sessions share.
pub type Text = Arc<str>;

/// The empty text.
pub fn empty() -> Text {
    static EMPTY: std::sync::LazyLock<Text> = std::sync::LazyLock::new(|| "".into());
    EMPTY.clone()
}
