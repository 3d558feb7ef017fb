//! What is in the tables? As `pipeline/storage`.

pub mod row_texts;
pub mod rows;
