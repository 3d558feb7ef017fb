//! In which order do effects happen? As `pipeline/roles`.

pub mod sink;
