//! The native envelope, the events of one device: a record of `sdk-events`.

pub mod cleaner;
pub mod events;
pub mod partitioner;
pub mod reading;
