"""All endpoints, in the order in which the document and the page have them."""

from __future__ import annotations

from pipeline.api import (
    of_alerts,
    of_crashes,
    of_health,
    of_lag,
    of_paths,
    of_people,
    of_performance,
    of_pipeline,
    of_saved,
    of_session,
    of_sessions,
    of_symbols,
)
from pipeline.api.endpoint import ApiEndpoint

ENDPOINTS: tuple[ApiEndpoint, ...] = tuple(
    sorted(
        (
            *of_pipeline.ENDPOINTS,
            *of_saved.ENDPOINTS,
            *of_sessions.ENDPOINTS,
            *of_session.ENDPOINTS,
            *of_people.ENDPOINTS,
            *of_crashes.ENDPOINTS,
            *of_health.ENDPOINTS,
            *of_paths.ENDPOINTS,
            *of_performance.ENDPOINTS,
            *of_alerts.ENDPOINTS,
            *of_symbols.ENDPOINTS,
            *of_lag.ENDPOINTS,
        ),
        key=lambda each: each.group in ("Filters", "Pipeline"),
    )
)
"""What a path with a fixed part says comes before the path with a parameter in its place."""
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(each.group for each in ENDPOINTS))
