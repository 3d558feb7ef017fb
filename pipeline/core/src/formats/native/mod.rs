//! The native envelope, the events of one device: a record of `sdk-events`.

pub mod events;
pub mod reading;
