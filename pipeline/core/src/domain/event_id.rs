//! The id of an event.

use std::hash::{Hash, Hasher};

use super::Text;

/// A UUID has 36.
const SHORT_BYTES: usize = 38;

/// The id of an event. Most are short, and lie where the event lies: each event has one of its own, and to take memory
/// for it, and give that back, takes longer than to copy it.
#[derive(Clone, Debug)]
pub enum EventId {
    Short { bytes: [u8; SHORT_BYTES], length: u8 },
    Long(Text),
}

impl EventId {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes, length } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Short { .. } => std::str::from_utf8(self.as_bytes()).expect("it was made of a text"),
            Self::Long(text) => text,
        }
    }

    /// For whoever keeps it longer than the event.
    pub fn text(&self) -> Text {
        match self {
            Self::Short { .. } => self.as_str().into(),
            Self::Long(text) => text.clone(),
        }
    }

    pub fn is(&self, text: &str) -> bool {
        self.as_bytes() == text.as_bytes()
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        if text.len() > SHORT_BYTES {
            return Self::Long(text.into());
        }
        let mut bytes = [0; SHORT_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self::Short { bytes, length: text.len() as u8 }
    }
}

impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EventId {}

impl Hash for EventId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}
