//! Device state <-> bytes, in the version that is written now. Older ones are left to Python.

pub mod session_codec;
pub mod state_head;
pub mod state_v3;
pub mod step_codec;
