//! How is Kafka read? As `pipeline/kafka`.

pub mod batch;
pub mod compiled_batches;
pub mod packed_records;
