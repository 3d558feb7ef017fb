"""The port on which a program shows its metrics and its health."""

from __future__ import annotations

from pipeline.errors import UnusablePath
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.roles.health import Health
from pipeline.roles.metrics import Metrics
from pipeline.roles.pages import serve
from pipeline.settings import Settings


def serve_metrics(settings: Settings, metrics: Metrics | AlertMetrics, health: Health) -> None:
    """Show them in a thread of their own, if a port is set. Raises `UnusablePath` where it is taken."""
    if not settings.metrics_port:
        return
    try:
        serve(settings.metrics_host, settings.metrics_port, metrics.registry, health)
    except OSError as error:
        raise UnusablePath(
            f"PIPELINE_METRICS_PORT: cannot listen on {settings.metrics_host}:{settings.metrics_port}: "
            f"{error.strerror or error}. Stop what listens there, or choose another port"
        ) from error
