//! What is in the tables? As `pipeline/storage`.

pub mod event_block;
pub mod failures;
pub mod native_columns;
pub mod row_texts;
pub mod rows;
