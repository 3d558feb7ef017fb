"""Envelopes of Sentry's SDKs (`sentry-envelopes`)."""

from pipeline.formats.format import Format
from pipeline.formats.limits import MAX_BODY_BYTES
from pipeline.formats.sentry.cleaned import cleaned
from pipeline.formats.sentry.envelope import apps_of, translate
from pipeline.formats.sentry.sender import PROJECT

__all__ = ["FORMAT", "translate"]

FORMAT = Format(
    "sentry",
    "sentry-envelopes",
    MAX_BODY_BYTES,
    # One key for all of a file, as for Measure.
    key_of=lambda document, file_name: file_name.encode(),
    translate=translate,
    apps_of=apps_of,
    cleaned=cleaned,
    kept_key_of=PROJECT.kept_key_of,
)
