"""`demo`: the whole pipeline on a small simulated fleet, and what an analyst sees of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.commands import operate, traffic
from pipeline.commands.failure import CommandFailed
from pipeline.commands.local_stack import LocalStack, StackFailed
from pipeline.settings import Settings

FLEET = traffic.Fleet(devices=200, seed=7, events=20_000)

_IDLE_TIMEOUT_MS = 2_000
_WAIT_S = 120.0

_BY_END = """
SELECT end_reason, count() AS sessions, uniqExact(device_id) AS devices,
       round(median(duration_ms) / 1000, 1) AS median_s, sum(event_count) AS events
FROM sessions GROUP BY end_reason ORDER BY sessions DESC LIMIT 8
"""

# The one whose story is best told: not too long, with a failed request on the way.
_CRASHED = """
SELECT session_id FROM sessions
WHERE end_reason = 'crash' AND state = 'foreground' AND event_count BETWEEN 8 AND 30
ORDER BY network_error_count > 0 DESC, cold_start DESC, view_count > 1 DESC, tap_count > 0 DESC, session_id LIMIT 1
"""

_TIMELINE = """
SELECT formatDateTime(time, '%H:%i:%S', 'UTC') AS at, round(offset_ms / 1000, 1) AS s,
       substringUTF8(what, 1, 76) AS what
FROM session_timeline(session_id = {session_id:UUID})
"""

_HEALTH = """
SELECT app_id, app_version, sum(r.sessions) AS sessions, sum(r.users) AS users,
       round(100 * sum(r.crash_free_sessions) / sum(r.sessions), 2) AS crash_free_percent
FROM release_health AS r GROUP BY app_id, app_version HAVING sessions >= 20
ORDER BY crash_free_percent, sessions DESC LIMIT 6
"""

_LATEST = """
SELECT started_at, app_id, substring(toString(session_id), 1, 8) AS session, start_reason, end_reason,
       round(duration_ms / 1000, 1) AS s, event_count AS events, user_id AS user
FROM sessions ORDER BY started_at DESC, session_id LIMIT 8
"""


def demo(settings: Settings, data: Path) -> None:
    """Start the embedded stack, simulate a fleet, print what came of it, stop. Raises `CommandFailed`."""
    # Nobody wants to wait half an hour for the last sessions of a demonstration to be idle.
    policies = settings.policies
    short = replace(policies, default=replace(policies.default, idle_timeout_ms=_IDLE_TIMEOUT_MS))
    stack = LocalStack(replace(settings, policies=short), data, kafka_port=0, clickhouse_port=0)
    try:
        stack.run(_show)
    except StackFailed as failure:
        raise CommandFailed(str(failure)) from failure
    print(f"\nGo on with the same data:  session-pipeline up --data {data}")


def _show(stack: LocalStack) -> None:
    print(stack.addresses, flush=True)
    traffic.simulate(stack.settings, FLEET, rate=0, out=None)
    operate.status(stack.settings, wait_idle=True, timeout_s=_WAIT_S)
    store = wiring.store(stack.settings)
    try:
        _table(store, "Latest sessions", _LATEST)
        _table(store, "How sessions ended", _BY_END)
        found = store.query(_CRASHED, format="TSV").decode().strip()
        if found:
            _table(store, f"What happened in session {found}", _TIMELINE, session_id=found)
        _table(store, "Crash-free sessions, worst releases first", _HEALTH)
    finally:
        store.close()


def _table(store: Store, title: str, sql: str, **parameters: str) -> None:
    result = store.query(sql, parameters, "PrettyCompactMonoBlock")
    sys.stdout.write(f"\n{title}\n{result.decode()}")
    sys.stdout.flush()
