//! The hot path of session-pipeline, compiled. Modules, names and order are those of the Python that they follow:
//! `pipeline/domain/fold.py` is `domain/fold.rs`. The Python is the definition; what is here gives the same bytes, or
//! says that it is `Unsure` and leaves the record or the device to Python. `pipeline/SESSIONS.md` defines a session.

mod domain;
mod formats;
mod kafka;
mod poison;
mod roles;
mod state;
mod storage;
mod unsure;

use pyo3::panic::PanicException;
use pyo3::prelude::*;

/// Of what Python calls here. `pipeline/compiled.py` takes a core of its own interface alone.
const INTERFACE: u32 = 8;

#[pymodule]
fn session_pipeline_core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<state::partition::Core>()?;
    module.add_class::<state::outbox::Outbox>()?;
    module.add_class::<state::grouping::Groups>()?;
    module.add_class::<kafka::packed_records::Fetched>()?;
    module.add_class::<kafka::packed_records::Records>()?;
    module.add_class::<kafka::compiled_batches::BatchBuilder>()?;
    module.add("INTERFACE", INTERFACE)?;
    // No `Exception` of Python's: who calls here has to name it.
    module.add("Panic", module.py().get_type::<PanicException>())?;
    module.add_function(wrap_pyfunction!(poison::poison, module)?)?;
    module.add("SOURCES", env!("SOURCES"))?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<roles::sink::compiled_rows::EventEncoder>()?;
    module.add_class::<roles::sink::compiled_rows::EventRows>()?;
    module.add_class::<formats::otlp::compiled_events::EventMaker>()?;
    module.add_class::<formats::measure::compiled_bodies::BodyMaker>()
}
