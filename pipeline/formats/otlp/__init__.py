"""OTLP logs and spans (`otlp_logs`, `otlp_spans`), as SDKs and the Collector's Kafka exporter send them."""

from types import ModuleType

from pipeline.formats.format import Format, Left, Translate
from pipeline.formats.limits import MAX_BODY_BYTES
from pipeline.formats.otlp import message
from pipeline.formats.otlp.cleaned import cleaned
from pipeline.formats.otlp.compiled_events import CompiledEvents
from pipeline.formats.otlp.decode import apps_in, holds, translator
from pipeline.formats.otlp.embrace import kept_key_of

__all__ = ["LOGS", "SPANS"]


def _format(signal: message.Signal) -> Format:
    def with_core(core: ModuleType, left: Left) -> Translate:
        return translator(signal, CompiledEvents(core, left, signal))

    return Format(
        "otlp-json",
        signal.topic,
        MAX_BODY_BYTES,
        # One key for all of a file, as for Measure: its messages stay in order.
        key_of=lambda document, file_name: file_name.encode(),
        translate=translator(signal),
        apps_of=apps_in(signal),
        holds=holds(signal),
        cleaned=cleaned(signal),
        kept_key_of=kept_key_of,
        with_core=with_core,
    )


LOGS = _format(message.LOGS)
SPANS = _format(message.SPANS)
