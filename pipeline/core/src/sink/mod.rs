//! Event rows of the sink, as columns. As `event_line` in `pipeline/storage/rows.py` and what it is made of.

pub mod columns;
pub mod event_block;
pub mod event_encoder;
mod stored_record;
