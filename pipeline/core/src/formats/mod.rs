//! What do these bytes say? As `pipeline/formats`.

pub mod json;
