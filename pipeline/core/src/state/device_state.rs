//! What is kept of a device between two inputs: the value of one key of the state table.

use std::sync::Arc;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};

use super::codec::session_codec;
use super::strings::Strings;
use super::tail::{OrderKey, Tail};
use crate::domain::Text;
use crate::domain::fold_state::FoldState;
use crate::domain::session::Session;
use crate::unsure::Sure;

/// What a written row said of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Report {
    Open,
    Closed,
    /// Open in the fold, reported as ended by inactivity because its device has been silent.
    Silent,
    /// Dissolved by a late event.
    Deleted,
}

/// What a row said; the same needs no new row. Most rows are asked neither that nor their digest before their device is
/// encoded as steps, which hold neither.
#[derive(Clone, Debug)]
pub enum Said {
    /// Empty: not known.
    Digest(Vec<u8>),
    Session(Arc<Session>),
}

impl Said {
    pub fn is(&self, session: &Session) -> bool {
        match self {
            Self::Digest(known) => *known == digest(session),
            Self::Session(said) => **said == *session,
        }
    }

    /// Which it is from then on.
    pub fn digest(&mut self) -> &[u8] {
        if let Self::Session(said) = self {
            *self = Self::Digest(digest(said));
        }
        match self {
            Self::Digest(digest) => digest,
            Self::Session(_) => unreachable!("it was digested"),
        }
    }
}

fn digest(session: &Session) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512 + session.resource.len() + session.user.len());
    session_codec::session_bytes(&mut bytes, session);
    Blake2b::<U8>::digest(&bytes).to_vec()
}

/// The row last written for a session that input may still change.
#[derive(Clone, Debug)]
pub struct Written {
    pub said: Said,
    pub started_at_ms: i64,
    pub report: Report,
    pub is_final: bool,
    /// Record time of the input that wrote it.
    pub at_ms: i64,
}

/// A row about to be emitted.
#[derive(Clone, Debug)]
pub struct Write {
    /// For DELETED only its first event and start are meaningful.
    pub session: Arc<Session>,
    pub report: Report,
    pub is_final: bool,
}

/// What was last written, by first event id, in the order of a Python dictionary.
#[derive(Clone, Debug, Default)]
pub struct WrittenRows(pub Vec<(Text, Written)>);

impl WrittenRows {
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Written> {
        // The newest are asked for most.
        self.0.iter_mut().rev().find(|(each, _)| &**each == id).map(|(_, written)| written)
    }

    pub fn get(&self, id: &str) -> Option<&Written> {
        self.0.iter().rev().find(|(each, _)| &**each == id).map(|(_, written)| written)
    }

    pub fn set(&mut self, id: &Text, written: Written) {
        match self.get_mut(id) {
            Some(known) => *known = written,
            None => self.0.push((id.clone(), written)),
        }
    }

    pub fn pop(&mut self, id: &str) -> Option<Written> {
        let at = self.0.iter().position(|(each, _)| &**each == id)?;
        Some(self.0.remove(at).1)
    }
}

/// The fold's state before the tail; encoded until somebody asks.
#[derive(Clone, Debug)]
pub enum Checkpoint {
    Encoded(Vec<u8>),
    Decoded(FoldState),
}

/// Checkpoint, tail, the fold after the tail, and what was last written.
#[derive(Clone, Debug)]
pub struct DeviceState {
    pub strings: Strings,
    pub checkpoint: Checkpoint,
    /// Ids of the events that the sessions of the checkpoint are named by.
    pub named: Vec<Text>,
    /// Place of the last event in the checkpoint.
    pub floor: Option<OrderKey>,
    pub tail: Tail,
    pub head: FoldState,
    pub written: WrittenRows,
    pub outbox: Vec<Write>,
    pub corrected_ms: i64,
    pub applied_offset: i64,
    pub arrived_ms: i64,
    pub base_offset: i64,
    pub packed_chars: usize,
    /// What the session before the open one said when it was last compared with its row.
    pub prev_compared: Option<(Text, i64, Text, Text, i64)>,
}

impl Default for DeviceState {
    fn default() -> Self {
        Self {
            strings: Strings::default(),
            checkpoint: Checkpoint::Decoded(FoldState::default()),
            named: Vec::new(),
            floor: None,
            tail: Tail::default(),
            head: FoldState::default(),
            written: WrittenRows::default(),
            outbox: Vec::new(),
            corrected_ms: 0,
            applied_offset: -1,
            arrived_ms: 0,
            base_offset: -1,
            packed_chars: 0,
            prev_compared: None,
        }
    }
}

impl DeviceState {
    /// Be the state of a device that nothing is known of, but for the input that is done.
    pub fn forget(&mut self) {
        self.checkpoint = Checkpoint::Decoded(FoldState::default());
        self.head = FoldState::default();
        self.named.clear();
        self.floor = None;
        self.tail = Tail::default();
        self.written = WrittenRows::default();
        self.prev_compared = None;
    }

    /// The fold's state before the tail, to be changed in place.
    pub fn checkpoint(&mut self) -> Sure<&mut FoldState> {
        if let Checkpoint::Encoded(bytes) = &self.checkpoint {
            self.checkpoint = Checkpoint::Decoded(session_codec::decode_fold(bytes, &self.strings)?);
        }
        match &mut self.checkpoint {
            Checkpoint::Decoded(fold) => Ok(fold),
            Checkpoint::Encoded(_) => unreachable!("it was decoded"),
        }
    }

    /// Whether a session is open and its row does not say yet that it ended by inactivity.
    pub fn silence_due(&self) -> bool {
        self.head.open.as_ref().is_some_and(|opened| {
            self.written.get(&opened.first_event_id).is_none_or(|written| written.report != Report::Silent)
        })
    }

    pub fn has_tail(&self) -> bool {
        self.tail.last.is_some()
    }
}
