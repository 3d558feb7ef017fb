//! How is Kafka read? As `pipeline/kafka`.

pub mod batch;
pub mod packed_records;
