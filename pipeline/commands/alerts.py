"""`alerts`: evaluating the rules of a file, checking it, and seeing and muting what it found."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from pipeline import wiring
from pipeline.clickhouse.grants import server_version_and_clock
from pipeline.clickhouse.store import Store, Unreachable
from pipeline.commands.alert_channels import Channels, require_usable
from pipeline.commands.failure import CommandFailed
from pipeline.commands.interruption import Interrupted, Signals
from pipeline.commands.serving_metrics import serve_metrics
from pipeline.domain.alerts import KNOWN_FOR_MS
from pipeline.errors import path_of
from pipeline.logs import log_for_worker
from pipeline.query import saved
from pipeline.query.alerts import records as alert_records
from pipeline.query.alerts.cohorts import watched, with_cohort
from pipeline.query.alerts.readings import AlertScope, reading
from pipeline.query.alerts.rules import AlertRule, AlertRules, InvalidAlerts, read_rules
from pipeline.query.filters.times import duration_of
from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement
from pipeline.roles.alerts.delivery import AlertCourier, Send
from pipeline.roles.alerts.evaluating import Evaluations
from pipeline.roles.alerts.metrics import AlertMetrics
from pipeline.roles.health import STANDS_S, Health
from pipeline.settings import Settings

log = logging.getLogger(__name__)

app = typer.Typer(
    help="Alert rules over any metric and filter (ALERTS.md).", no_args_is_help=True, add_completion=False
)

_PASS_S = 5.0
_LONGEST_PAUSE_S = 60.0
_LOOK_S = 1.0
_FILE = typer.Argument(help="The rules file; PIPELINE_ALERTS by default.")
_HISTORY_ROWS = 200
_DAY_MS = 86_400_000


@app.command("run")
def run_command(
    once: Annotated[
        bool, typer.Option("--once", help="Evaluate and deliver what is due, then exit.")
    ] = False,
) -> None:
    """Evaluate the rules of PIPELINE_ALERTS and notify their channels, until Ctrl-C or SIGTERM. Run only one."""
    run(wiring.settings(), once=once)


@app.command("check")
def check_command(file: Annotated[Path | None, _FILE] = None) -> None:
    """Say whether a rules file is valid, and whether its channels can be used. Nothing is evaluated or sent.

    Where a rule names a cohort, ClickHouse is asked whether there is one.
    """
    settings = wiring.settings()
    rules = rules_of(settings, file)
    require_cohorts(settings, rules)
    for channel in rules.channels.values():
        require_usable(channel)
    print(f"{len(rules.rules)} rules and {len(rules.channels)} channels are sound")


@app.command("list")
def list_command(
    app_id: Annotated[str, typer.Option("--app", help="Only rules for this app.")] = "",
    now: Annotated[bool, typer.Option("--now", help="Also ask what is known now.")] = False,
) -> None:
    """Show where each rule and each of its groups stands, and what it saw."""
    settings = wiring.settings()
    show_states(settings, app_id, rules_of(settings, None) if now else None)


@app.command("history")
def history_command(
    app_id: Annotated[str, typer.Option("--app", help="Only rules for this app.")] = "",
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days back.")] = 7,
) -> None:
    """Show what changed, newest first: what was seen, and what was known of the same sessions later."""
    show_history(wiring.settings(), app_id, days)


@app.command("mute")
def mute_command(
    rule: Annotated[str, typer.Argument(help="The name of the rule.")],
    duration: Annotated[str, typer.Option("--for", help="How long, such as 2h or 3d.")],
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for others.")] = "",
) -> None:
    """Mute a rule for a while; it is still evaluated, and what lasts is reported afterwards."""
    found = duration_of(duration)
    if found is None or found <= 0:
        raise CommandFailed(f"--for: {duration[:40]!r} is not a duration such as 2h or 3d")
    mute(wiring.settings(), rule, group, int(found), reason)
    print(f"{rule} is muted for {duration}")


@app.command("unmute")
def unmute_command(
    rule: Annotated[str, typer.Argument(help="The name of the rule.")],
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
) -> None:
    """Unmute the rule, or the same group of it."""
    mute(wiring.settings(), rule, group, 0, "")
    print(f"{rule} is not muted any more")


def rules_of(settings: Settings, file: Path | None) -> AlertRules:
    """The rules of a file, or of PIPELINE_ALERTS. Raises UnusablePath, and InvalidAlerts with the file's name."""
    path = file or (Path(settings.alerts) if settings.alerts else None)
    if path is None:
        raise CommandFailed("no rules file: give one, or set PIPELINE_ALERTS")
    with path_of("PIPELINE_ALERTS" if file is None else "FILE", path):
        told = path.read_bytes()
    try:
        return read_rules(told.decode())
    except UnicodeDecodeError as error:
        raise InvalidAlerts(f"{path}: it is not UTF-8") from error
    except InvalidAlerts as error:
        raise InvalidAlerts(f"{path}: {error}") from error


def require_cohorts(settings: Settings, rules: AlertRules) -> None:
    """Raises InvalidAlerts for a cohort that nobody saved, or that no rule can use; Unreachable, for without an answer
    nobody knows."""
    naming = [rule for rule in rules.rules if rule.cohort]
    if not naming:
        return
    with _asking(settings) as ask:
        for rule in naming:
            found = watched(rule, ask(saved.named_filters(rule.app_id)), None)
            if found.fault:
                raise InvalidAlerts(f"rule {rule.name!r}: {found.fault}")


def run(settings: Settings, *, once: bool) -> None:
    """Run the role until a signal. Raises what `rules_of` raises; with `once` also Unreachable."""
    rules = rules_of(settings, None)
    for channel in rules.channels.values():
        require_usable(channel)
    store, metrics = wiring.store(settings), AlertMetrics()
    # It waits for ClickHouse and for channels, and cannot look at itself meanwhile.
    longest_s = settings.clickhouse_timeout_ms / 1_000 + STANDS_S
    health = Health(late_s=longest_s, stands_s=longest_s)
    role = Alerts(store, rules, Channels().send, metrics, health.look)
    try:
        if once:
            role.do_all()
            return
        log_for_worker(settings.log_format, "alerts")
        _until_a_signal(settings, role, metrics, health)
    finally:
        store.close()


class Alerts:
    """Evaluations and deliveries of one file."""

    def __init__(
        self,
        store: Store,
        rules: AlertRules,
        send: Send,
        metrics: AlertMetrics,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """`look` is called before each evaluation and delivery: days may be made up for in one call."""
        self._evaluations = Evaluations(store, rules, metrics, look)
        self._courier = AlertCourier(store, rules.channels, send, metrics, look)

    def do_some(self) -> bool:
        """Evaluate some of what is due, and deliver; whether there is more. Raises Unreachable; the next call makes
        up for it."""
        made = self._evaluations.catch_up()
        self._courier.deliver()
        return made == Evaluations.AT_ONCE

    def do_all(self) -> None:
        """Evaluate and deliver all that is due. Raises Unreachable."""
        while self.do_some():
            pass


def _until_a_signal(settings: Settings, role: Alerts, metrics: AlertMetrics, health: Health) -> None:
    signals, fault = Signals(), ""
    health.watch("ClickHouse", lambda: fault)
    serve_metrics(settings, metrics, health)
    signals.listen()
    pause_s = _PASS_S
    log.info("alerts: ready")
    while True:
        # A signal in the middle of an effect is acted on after it: all of it is stored, or none.
        try:
            has_more = role.do_some()
            fault, pause_s = "", 0.0 if has_more else _PASS_S
        except Unreachable as error:
            metrics.unreachable.inc()
            fault = str(error)
            log.warning("%s; what is due is made up for, next try in %.0f s", error, pause_s)
            pause_s = min(max(pause_s, _PASS_S) * 2, _LONGEST_PAUSE_S)
        try:
            pause(pause_s, health, signals)
        except Interrupted:
            return


def pause(seconds: float, health: Health, signals: Signals) -> None:
    """Wait, and look at oneself once a second. Raises Interrupted."""
    end_s = time.monotonic() + seconds
    while True:
        health.look()
        left_s = end_s - time.monotonic()
        with signals.heard():
            time.sleep(max(0.0, min(_LOOK_S, left_s)))
        if left_s <= _LOOK_S:
            return


def show_states(settings: Settings, app_id: str, rules: AlertRules | None) -> None:
    """Print where rules stand; with rules also what is known now of the windows that they were evaluated on."""
    now_ms = time.time_ns() // 1_000_000
    with _asking(settings) as ask:
        rows = ask(alert_records.states(app_id, now_ms - KNOWN_FOR_MS, now_ms + _DAY_MS))
        named = {rule.name: rule for rule in rules.rules} if rules else {}
        table = Table(
            "app",
            "rule",
            "group",
            "state",
            "evaluated at",
            "value",
            *(["known now"] if rules else []),
            "sessions",
        )
        for row in rows:
            group = str(row["group"]) if row["is_of_group"] else ""
            now = [_known_now(ask, named.get(row["rule"]), row, now_ms)] if rules else []
            table.add_row(
                row["app_id"], row["rule"], group, row["state"] or "(all groups)", row["evaluated_at"],
                _shown(row["value"]), *now, str(row["sessions"]),
            )  # fmt: skip
    Console().print(table)


def show_history(settings: Settings, app_id: str, days: int) -> None:
    """Print what changed."""
    now_ms = time.time_ns() // 1_000_000
    with _asking(settings) as ask:
        rows = ask(
            alert_records.transitions(app_id, now_ms - days * _DAY_MS, now_ms + _DAY_MS, _HISTORY_ROWS)
        )
    table = Table(
        "evaluated at", "app", "rule", "group", "state", "before", "value seen", "value known", "known at"
    )
    for row in rows:
        table.add_row(
            row["evaluated_at"], row["app_id"], row["rule"], str(row["group"]) if row["is_of_group"] else "",
            row["state"], row["state_before"], _shown(row["value_seen"]), _shown(row["value_known"]), row["known_at"],
        )  # fmt: skip
    Console().print(table)


def mute(settings: Settings, rule: str, group: str | None, duration_ms: int, reason: str) -> None:
    """Mute a rule, or one group of it, from now on; for no time ends it. Raises what the store raises."""
    store = wiring.store(settings)
    try:
        muted(store, rule, group, duration_ms, reason)
    finally:
        store.close()


def muted(store: Store, rule: str, group: str | None, duration_ms: int, reason: str) -> dict[str, Any]:
    """The same in this database, and the row that says so. The clock is ClickHouse's."""
    _, now_ms = server_version_and_clock(store)
    row = {
        "rule": rule, "is_group": int(group is not None), "group": group or "", "written_at": time_text(now_ms),
        "muted_from": time_text(now_ms), "muted_until": time_text(now_ms + duration_ms), "reason": reason,
    }  # fmt: skip
    store.insert(alert_records.MUTES, orjson.dumps(row), token=f"{rule}:{now_ms}")
    return row


class _asking:
    """Within, questions are answered as rows."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __enter__(self) -> Callable[[Statement], list[dict[str, Any]]]:
        self._store = store = wiring.store(self._settings)

        def ask(statement: Statement) -> list[dict[str, Any]]:
            return [
                orjson.loads(line) for line in store.query(statement.sql, statement.parameters).splitlines()
            ]

        return ask

    def __exit__(self, *_: object) -> None:
        self._store.close()


def _known_now(
    ask: Callable[[Statement], list[dict[str, Any]]], rule: AlertRule | None, row: dict[str, Any], now_ms: int
) -> str:
    if rule is None:
        return "no such rule"
    end_ms = int(row["evaluated_at_ms"]) - rule.delay_ms
    group = str(row["group"]) if row["is_of_group"] else None
    if row["fault"]:
        return "none"
    asked = AlertScope(rule.app_id, end_ms - rule.window_ms, end_ms, now_ms)
    kept = [group] if group is not None else []
    filter = with_cohort(rule, row["cohort_filter"])
    for found in ask(reading(rule.metric, asked, filter, rule.by, kept)):
        if (str(found["group"]) if found["is_group"] else None) == group:
            return _shown(found["value"])
    return "none"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
