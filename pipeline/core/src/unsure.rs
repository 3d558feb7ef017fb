//! What the core leaves to Python, and why.

/// Python decides. The reason is a label of the metric that counts what is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure(pub &'static str);

pub type Sure<T> = Result<T, Unsure>;
