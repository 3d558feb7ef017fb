"""The native envelope: one record of `sdk-events`, the events of one device."""

from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.formats.native.events import decode, to_events

__all__ = ["Envelope", "NativeEvent", "decode", "to_events"]
