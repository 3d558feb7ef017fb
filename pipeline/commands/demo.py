"""`demo`: the whole pipeline on a small simulated fleet, and what an analyst sees of it."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.commands import operate, traffic
from pipeline.commands.alert_channels import Channels
from pipeline.commands.alerts import Alerts
from pipeline.commands.local_stack import LocalStack
from pipeline.query import first_look
from pipeline.query.alerts.rules import AlertRules, read_rules
from pipeline.query.statement import Statement
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.settings import Settings

FLEET = traffic.Fleet(devices=300, seed=7, events=50_000, days=21, apps=4)
"""It ends when the demonstration begins."""

RULES = Path(__file__).parents[1] / "simulate" / "alerts.toml"
"""Its alert rules."""

_IDLE_TIMEOUT_MS = 2_000
_EVALUATED_EVERY_MS = 1_000
_WAIT_S = 120.0


def demo(settings: Settings, data: Path) -> None:
    """Start the embedded stack, simulate a fleet, print what came of it, stop. Raises `StackFailed`."""
    # Nobody wants to wait half an hour for the last sessions of a demonstration to be idle.
    policies = settings.policies
    short = replace(policies, default=replace(policies.default, idle_timeout_ms=_IDLE_TIMEOUT_MS))
    stack = LocalStack(replace(settings, policies=short), data, kafka_port=0, clickhouse_port=0)
    stack.run(_show)
    print(f"\nGo on with the same data:  session-pipeline up --data {data}")


def _show(stack: LocalStack) -> None:
    print(stack.addresses, flush=True)
    traffic.simulate(stack.settings, FLEET.until(int(time.time() * 1_000)), rate=0, out=None)
    operate.status(stack.settings, wait_idle=True, timeout_s=_WAIT_S)
    store = wiring.store(stack.settings)
    try:
        _table(store, "Latest sessions", first_look.LATEST)
        _table(store, "How sessions ended", first_look.BY_END)
        found = store.query(first_look.CRASHED.sql, format="TSV").decode().strip()
        if found:
            _table(store, f"What happened in session {found}", first_look.story(found))
        _table(store, "Crash-free sessions, worst releases first", first_look.HEALTH)
        evaluate(store)
        _table(store, "Alerts", first_look.ALERTS)
    finally:
        store.close()


def evaluate(store: Store) -> None:
    """Evaluate the rules once on what is known within a second, and tell nobody. Raises Unreachable."""
    rules = read_rules(RULES.read_text(encoding="utf-8"))
    # An evaluation sees what was known at its time, and all of this has come just now: by the file's own times the
    # next one could be a quarter of an hour away.
    at_once = tuple(replace(rule, every_ms=_EVALUATED_EVERY_MS) for rule in rules.rules)
    time.sleep(_EVALUATED_EVERY_MS / 1_000)
    Alerts(store, AlertRules(at_once, rules.channels, 0), Channels().send, AlertMetrics()).do_all()


def _table(store: Store, title: str, statement: Statement) -> None:
    result = store.query(statement.sql, statement.parameters, "PrettyCompactMonoBlock")
    sys.stdout.write(f"\n{title}\n{result.decode()}")
    sys.stdout.flush()
