//! What is kept of a device, and how is it written? As `pipeline/state`.

pub mod codec;
pub mod compiled_partition;
pub mod copies;
pub mod deadlines;
pub mod device;
pub mod device_state;
pub mod durable;
pub mod fetching;
pub mod grouping;
pub mod msgpack;
pub mod outbox;
pub mod partition;
pub mod report;
pub mod store;
pub mod strings;
pub mod tail;
