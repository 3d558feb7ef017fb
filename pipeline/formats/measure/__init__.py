"""Request bodies of the Measure SDK (`measure-events`)."""

from pipeline.formats.measure.body import decode
from pipeline.formats.translation import NativeRecord, Translation

__all__ = ["NativeRecord", "Translation", "decode"]
