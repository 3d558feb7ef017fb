"""Why nothing is taken at an address, and which one was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.routing import compile_path

_METRICS = "/v1/metrics"
_SIGNAL = re.compile(r"^(.*)(/v1/(?:logs|traces|metrics))/?$", re.DOTALL)
"""What SDKs of OpenTelemetry add to the address that they were given."""
_MOST_CHARS = 100


class Paths:
    """The addresses that are taken."""

    def __init__(self, paths: Sequence[str]) -> None:
        """`paths` as Starlette has them."""
        self._said = ", ".join(dict.fromkeys(paths))
        self._taken = [compile_path(path)[0] for path in dict.fromkeys(paths)]

    def why_not(self, path: str) -> tuple[str, bool]:
        """Why a path that no route has is not taken, and whether whoever asks speaks OTLP, as its end says."""
        if path.rstrip("/") == _METRICS:
            text = "metrics are not accepted; an OpenTelemetry SDK leaves them out with OTEL_METRICS_EXPORTER=none"
            return text, True
        signal = _SIGNAL.match(path)
        if signal and signal[1]:
            name = signal[2].rpartition("/")[2].upper()
            text = (
                f"nothing is accepted at {path[:_MOST_CHARS]}: OTEL_EXPORTER_OTLP_ENDPOINT takes the address without a "
                f"path (http://HOST:4318), to which SDKs add {signal[2]}; OTEL_EXPORTER_OTLP_{name}_ENDPOINT takes it "
                "with the path"
            )
            return text, True
        other = path[:-1] if path.endswith("/") else f"{path}/"
        if any(taken.match(other) for taken in self._taken):
            how = "without the slash" if path.endswith("/") else "with a slash"
            text = f"nothing is accepted at {path[:_MOST_CHARS]}: use {other[:_MOST_CHARS]}, {how} at its end"
            return text, False
        return f"nothing is accepted here; use {self._said}", False
