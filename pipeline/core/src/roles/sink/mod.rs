//! How do rows get into ClickHouse, each once? As `pipeline/roles/sink`.

pub mod compiled_rows;
