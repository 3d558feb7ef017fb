//! For tests: where the core panics, so that they see what Python does then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

static IS_SET: AtomicBool = AtomicBool::new(false);
static AT: Mutex<(String, Vec<u8>)> = Mutex::new((String::new(), Vec::new()));

/// Panic at each place of this name that has these bytes in hand; an empty name: nowhere.
#[pyfunction]
pub fn poison(place: &str, bytes: &[u8]) {
    *AT.lock().unwrap_or_else(PoisonError::into_inner) = (place.to_owned(), bytes.to_vec());
    IS_SET.store(!place.is_empty(), Ordering::Relaxed);
}

/// The place of a name, with some bytes in hand: panics if a test asks for it.
#[inline]
pub fn meet(place: &str, bytes: &[u8]) {
    assert!(!IS_SET.load(Ordering::Relaxed) || !is_at(place, bytes), "a test asks for it");
}

#[cold]
fn is_at(place: &str, bytes: &[u8]) -> bool {
    let at = AT.lock().unwrap_or_else(PoisonError::into_inner);
    at.0 == place && at.1 == bytes
}
