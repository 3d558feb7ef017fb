"""Request bodies of the Measure SDK (`measure-events`)."""

from pipeline.formats.format import NOTHING_BESIDE, Format
from pipeline.formats.limits import MAX_BODY_BYTES
from pipeline.formats.measure.body import apps_of, decode
from pipeline.formats.measure.compiled_bodies import CompiledBodies
from pipeline.formats.translation import NativeRecord, Translation

__all__ = ["FORMAT", "NativeRecord", "Translation", "decode"]

FORMAT = Format(
    "measure",
    "measure-events",
    MAX_BODY_BYTES,
    # One key for all of a file, hence one partition: without, its bodies would be read in any order, and the first
    # one of a device could come after more events than may be restated.
    key_of=lambda document, file_name: file_name.encode(),
    translate=lambda value, record_ms, beside=NOTHING_BESIDE: decode(value, record_ms),
    with_core=lambda core, left: CompiledBodies(core, left).translate,
    apps_of=apps_of,
)
