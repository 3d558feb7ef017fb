//! OTLP in protobuf: the log records and spans of which most is said in the same short form. As `pipeline/formats/otlp`.

pub mod compiled_events;
mod events;
mod identity;
mod logs;
pub mod message;
mod names;
mod proto_quick;
mod spans;
mod wire;
