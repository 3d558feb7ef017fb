"""Evaluations of alert rules as they are stored, for the page that shows them."""

from __future__ import annotations

import time
from typing import Any

import orjson

from pipeline.query.session_range import time_text
from tests.dashboard import hostile
from tests.dashboard.stage import Stage

APP = "org.example.shop"
OTHER_APP = f"other{hostile.QUOTES}"
APP_OF_LONG_NAMES = "org.example." + "a_very_long_name_of_a_shop_" * 3
HOUR = 3_600_000


def row(at_ms: int, known_ms: int | None = None, **other: Any) -> dict[str, Any]:
    return {
        "app_id": APP, "rule": "Crash-free", "definition": "1", "metric": "crash_free_sessions", "filter": "",
        "evaluated_at": time_text(at_ms), "is_group": 0, "group": "", "known_at": time_text(known_ms or at_ms),
        "window_from": time_text(at_ms - HOUR), "window_until": time_text(at_ms), "value": 0.975, "numerator": 390,
        "denominator": 400, "sessions": 400, "users": 10, "value_before": None, "sessions_before": 0,
        "users_before": 0, "verdict": "error", "state": "error", "state_before": "normal", "settled": "error",
        "told": "error", "told_before": "normal", "times": 1, "message_id": "", "message": "", "channels": [],
        **other,
    }  # fmt: skip


def put(stage: Stage) -> None:
    """Two rules of different apps, one of them of a hostile name and group, one muted, and some of long names."""
    at_ms = int(time.time() * 1_000) // HOUR * HOUR - 8 * HOUR
    told: dict[str, Any] = {"message_id": "m1", "channels": ["team"]}
    rows = [
        row(at_ms, filter='os.name = "Android"', **told),
        row(at_ms, at_ms + HOUR, value=0.9925, numerator=397, verdict="normal", message_id="m2"),
        row(at_ms + HOUR, state="error", state_before="error"),
        row(
            at_ms, app_id=OTHER_APP, rule=hostile.SCRIPT, is_group=1, group=hostile.QUOTES + hostile.SCRIPT,
            filter=f"app.version = {orjson.dumps(hostile.SCRIPT).decode()}", metric="duration_p50", value=7_000.0,
            numerator=None, denominator=400,
        ),
        row(
            at_ms, app_id="of-a-cohort", rule="Crash-free of payers", cohort="payers", value=None, numerator=None,
            denominator=None, sessions=0, users=0, fault='There is no cohort "payers"; the nearest: paying', **told,
        ),
        *(
            row(
                at_ms, app_id=APP_OF_LONG_NAMES, rule=name, is_group=1, group="Galaxy " * 12, cohort="p" * 60,
                metric="force_quit_free_sessions", filter="", **told,
            )
            for name in ("Sessions free of crashes in the checkout, by model, while the sale goes on", "W" * 100)
        ),
        row(at_ms, app_id=APP_OF_LONG_NAMES, rule="R" * 100, fault="There is no cohort " + "c" * 200, cohort="c" * 100),
    ]  # fmt: skip
    stage.store.insert("z_alert_rows", b"\n".join(map(orjson.dumps, rows)), token="alerts-page")
    stage.store.insert("z_alert_mute_rows", orjson.dumps(muted(at_ms)), token="alerts-page")


def muted(at_ms: int) -> dict[str, Any]:
    """The row that mutes the rule of the hostile name for long."""
    mute = {"rule": hostile.SCRIPT, "is_group": 0, "group": "", "reason": hostile.SCRIPT}
    mute |= {"written_at": time_text(at_ms), "muted_from": time_text(at_ms), "muted_until": "2099-01-01"}
    return mute
