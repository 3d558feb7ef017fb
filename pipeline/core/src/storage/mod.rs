//! What is in the tables? As `pipeline/storage`.

pub mod crash_rows;
pub mod event_block;
pub mod native_columns;
pub mod row_texts;
pub mod rows;
