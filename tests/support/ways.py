"""The same lives, told in several ways through a running pipeline: what each comes to, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tests.support.lives import Life
from tests.support.stack import Stack
from tests.support.writers import native, otlp

LONG: dict[str, str] = {"restate_horizon": "400d", "restate_events": "100000", "state_ttl": "500d"}
"""Settings for lives of days of which all logs come before all spans."""
_TOLD = (
    "SELECT device_id, started_at, ended_at, state, start_reason, end_reason, exit_reason, cold_start, "
    "client_session_id, user_id, user_ids, app_version, app_build, os_name, os_version, device_model, stitched_index, "
    "event_count, crash_count, anr_count, exception_count, network_count, network_error_count, tap_count, view_count, "
    "log_error_count FROM sessions WHERE startsWith(app_id, {way:String}) ORDER BY app_id, device_id, started_at"
)


def named(life: Life, way: str) -> Life:
    """The same life of another app: each way of telling it has its own."""
    return replace(life, app_id=f"{way}.{life.app_id.rpartition('.')[2]}")


def tell(lives: Sequence[Life], way: str, each: Callable[[Life], None]) -> None:
    """Tell lives, some at the same time."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(each, (named(life, way) for life in lives)))


def tell_natively(stack: Stack, lives: Sequence[Life]) -> None:
    """Send what OpenTelemetry can say of lives as native envelopes."""
    file = stack.folder / "native.jsonl"
    with file.open("wb") as lines:
        for life in lives:
            deeds = [said for deed in life.deeds for said in otlp.sayable(life, deed)]
            for record in native.write(named(life, "native"), deeds):
                lines.write(record.value + b"\n")
    stack.run("send", "--format", "native", str(file))


def sessions(stack: Stack, way: str) -> list[dict[str, Any]]:
    """The stored sessions of what was told in a way, without what tells one way from another."""
    return stack.query(_TOLD, way=f"{way}.")
