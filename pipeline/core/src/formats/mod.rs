//! What do these bytes say? As `pipeline/formats`.

pub mod clocks;
pub mod edge;
pub mod envelope;
pub mod hashed_ids;
pub mod json;
pub mod limits;
pub mod meaning;
pub mod measure;
pub mod native;
pub mod otlp;
pub mod performance;
pub mod record_time;
pub mod rfc3339;
pub mod strict_json;
pub mod translation;
