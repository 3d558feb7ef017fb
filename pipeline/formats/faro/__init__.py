"""Request bodies of Grafana Faro's SDKs (`faro-events`)."""

from pipeline.formats.faro.body import SESSION_HEADER, apps_of, translate
from pipeline.formats.format import Format
from pipeline.formats.limits import MAX_BODY_BYTES

__all__ = ["FORMAT", "translate"]

FORMAT = Format(
    "faro",
    "faro-events",
    MAX_BODY_BYTES,
    # One key for all of a file, as for Measure.
    key_of=lambda document, file_name: file_name.encode(),
    translate=translate,
    apps_of=apps_of,
    kept_key_of=SESSION_HEADER.kept_key_of,
)
