//! Request bodies of the Measure SDK (schemas/mapping/measure.md). As `pipeline/formats/measure`.

mod blocks;
mod body;
pub mod compiled_bodies;
mod measured;
mod screens;
mod sender;
mod spans;
mod stacktrace;
