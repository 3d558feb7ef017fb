"""One run: load, everything that goes wrong on schedule, quiet, and the comparison."""

from __future__ import annotations

import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.chaos import schedule as plan
from tests.chaos.anew import make_anew
from tests.chaos.fleet import Fleet
from tests.chaos.guests import send_foreign, send_heavy
from tests.chaos.ledger_watch import LedgerWatch
from tests.chaos.load import Load
from tests.chaos.proxy import FaultProxy
from tests.chaos.recovery import Recoveries
from tests.chaos.schedule import ROLES, Step
from tests.chaos.verify import Verdict, judge, read
from tests.support.stack import SESSION_TIMEOUT_S, Stack, running_stack

_PARTITIONS = 4
_WORKERS_A_ROLE = 2
_IDLE_S = 2
_CLICKHOUSE_TIMEOUT_S = 5
_SETTLE_TIMEOUT_S = 60.0
_DRAIN_TIMEOUT_S = 240
_MEETING_TIMEOUT_S = 30.0
_EVENTS_AFTER = 3_000


@dataclass(frozen=True)
class Order:
    """What to do. The same order gives the same load and the same schedule."""

    broker: str
    events: int
    kills: int
    rebalances: int
    faults: int
    seed: int
    heavy: int = 1
    """Devices that send all that a device may."""
    foreign: int = 1
    """How often a producer with another partitioner sends."""
    remakes: int = 0
    """How often `sdk-events` is deleted and made anew, once all else is done."""
    core: str = "auto"
    """Whether workers have the compiled core, as the setting says it."""

    def steps(self) -> list[Step]:
        """The schedule. The embedded broker forgets everything when it ends, so it is never restarted."""
        often = -(-self.kills // 12)
        return plan.schedule(
            self.seed,
            kills=self.kills,
            rebalances=self.rebalances,
            faults=self.faults,
            freezes=often,
            broker_restarts=often if self.broker == "kafka" else 0,
            heavy=self.heavy,
            foreign=self.foreign,
        )


@dataclass
class Outcome:
    """The numbers of a run."""

    numbers: dict[str, Any]
    verdict: Verdict
    problems: list[str]

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good and not self.problems


def run(order: Order, folder: Path, clickhouse: EmbeddedClickHouse, say: Callable[[str], None]) -> Outcome:
    """Does it all and compares; `say` gets a line for every act. Blocks for minutes."""
    started_s = time.monotonic()
    settings = {"partitions": str(_PARTITIONS), "idle_timeout": f"{_IDLE_S}s", "core": order.core}
    with (
        FaultProxy(clickhouse.url, hold_s=_CLICKHOUSE_TIMEOUT_S + 3) as proxy,
        running_stack(order.broker, clickhouse, folder, **settings) as stack,
    ):
        database = stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")[2]
        stack.worker_settings = {
            "PIPELINE_CLICKHOUSE_URL": f"{proxy.url}/{database}",
            "PIPELINE_CLICKHOUSE_TIMEOUT": f"{_CLICKHOUSE_TIMEOUT_S}s",
        }
        load = Load(stack, events=order.events, seed=order.seed)
        with (
            Recoveries(stack.connection) as recoveries,
            LedgerWatch(stack.settings["PIPELINE_CLICKHOUSE_URL"]) as watch,
        ):
            chaos = _Chaos(stack, proxy, load, Fleet(stack, recoveries, order.seed), say)
            chaos.run(order.steps())
            for number in range(order.remakes):
                chaos.make_anew(number)
        outcome = _judge(chaos, order, recoveries, watch)
        outcome.numbers["seconds"] = round(time.monotonic() - started_s, 1)
        return outcome


class _Chaos:
    """The acts of a schedule, done to a stack."""

    def __init__(
        self, stack: Stack, proxy: FaultProxy, load: Load, fleet: Fleet, say: Callable[[str], None]
    ) -> None:
        self.stack = stack
        self.load = load
        self.fleet = fleet
        self.faults = 0
        self.broker_restarts = 0
        self.acts_without_load = 0
        self.logs_before: list[tuple[int, Mapping[int, int]]] = []
        """Of each time that the topic was made anew: from where offsets count since, and where it had ended."""
        self._proxy = proxy
        self._say = say

    def run(self, steps: list[Step]) -> None:
        """Under load; afterwards everything is stored and quiet."""
        self.stack.start_workers(*(role for role in ROLES for _ in range(_WORKERS_A_ROLE)))
        seconds = sum(map(_seconds, steps))
        self._say(f"{len(steps)} acts, load for about {seconds:.0f} s")
        started_s = time.monotonic()
        self.load.begin(seconds)
        for step in steps:
            self.load.send_slice()
            self.fleet.rest(step.pause_s)
            if step.settle:
                self.fleet.settle(_SETTLE_TIMEOUT_S)
            self.load.keep_up()
            self.acts_without_load += not self.load.is_sending
            self._say(f"{time.monotonic() - started_s:6.1f} s  {step.act}")
            self._do(step.act)
        self._say(f"{time.monotonic() - started_s:6.1f} s  that was all; the rest of the load, then quiet")
        while self.load.is_sending:
            self.fleet.rest(0.2)
        self.load.finish(_SETTLE_TIMEOUT_S)
        assert self.fleet.settle(_SETTLE_TIMEOUT_S), f"workers did not settle\n{self.stack.log_tails()}"
        self.stack.wait_idle(_DRAIN_TIMEOUT_S)

    def make_anew(self, number: int) -> None:
        """All is quiet; then there is another topic, workers stop by name, and start again by the runbook."""
        self._say("sdk-events is deleted and made anew")
        base, ends = make_anew(self.stack, _PARTITIONS)
        self.logs_before.append((base, ends))
        self._say(f"offsets count from {base}")
        self.stack.start_workers(*(role for role in ROLES for _ in range(_WORKERS_A_ROLE)))
        send_foreign(self.stack, self.load, 100 + number, _PARTITIONS)
        self.load.send_more(1_000 + number, _EVENTS_AFTER)
        send_heavy(self.stack, self.load, 100 + number)
        self.stack.wait_idle(_DRAIN_TIMEOUT_S)

    def _do(self, act: plan.Act) -> None:
        fleet = self.fleet
        match act:
            case plan.Kill(roles, gap_s, restart_s):
                for number, role in enumerate(roles):
                    fleet.rest(gap_s if number else 0)
                    fleet.kill(role, restart_s=restart_s)
            case plan.KillInRecovery(role, after_s):
                fleet.kill(role, restart_s=None)
                for pause_s in after_s:
                    name = fleet.begin(role)
                    fleet.rest(pause_s)
                    fleet.kill_this(name)
                fleet.begin(role)
            case plan.KillInRebalance(role, after_s):
                joining = fleet.add(role)
                fleet.rest(after_s)
                fleet.kill(role, restart_s=None, spare=joining)
            case plan.Scale(role, up=True):
                fleet.add(role)
            case plan.Scale(role):
                fleet.remove(role)
            case plan.Freeze(role):
                fleet.freeze(role, SESSION_TIMEOUT_S + 3)
            case plan.Outage():
                self._outage(act)
            case plan.HeavyDevice(number):
                send_heavy(self.stack, self.load, number)
            case plan.ForeignProducer(number):
                send_foreign(self.stack, self.load, number, _PARTITIONS)
            case plan.RestartBroker(kill9):
                self._restart_broker(kill9)

    def _outage(self, act: plan.Outage) -> None:
        met_before = self._proxy.met[act.fault]
        self._proxy.set_fault(act.fault)
        try:
            self.fleet.rest(act.seconds / 2)
            if act.kill:
                self.fleet.kill("sink", restart_s=0)
            self.fleet.rest(act.seconds / 2)
            deadline_s = time.monotonic() + _MEETING_TIMEOUT_S
            while self._proxy.met[act.fault] == met_before and time.monotonic() < deadline_s:
                self.fleet.rest(0.1)
        finally:
            self._proxy.set_fault(None)
        self.faults += self._proxy.met[act.fault] > met_before

    def _restart_broker(self, kill9: bool) -> None:
        failed: list[BaseException] = []

        def restart() -> None:
            try:
                if kill9:
                    self.stack.broker.kill9()
                self.stack.broker.restart()
            except Exception as error:
                failed.append(error)

        restarting = threading.Thread(target=restart)
        restarting.start()
        while restarting.is_alive():
            self.fleet.rest(0.1)
        restarting.join()
        if failed:
            raise failed[0]
        self.broker_restarts += 1


def _seconds(step: Step) -> float:
    """About how long a step takes on an idle machine; where it takes longer, the load goes on for longer too."""
    match step.act:
        case plan.Kill(roles, gap_s, restart_s):
            seconds = gap_s * (len(roles) - 1) + restart_s
        case plan.KillInRecovery(_, after_s):
            seconds = sum(after_s)
        case plan.KillInRebalance(_, after_s):
            seconds = after_s
        case plan.Freeze():
            seconds = SESSION_TIMEOUT_S + 3.0
        case plan.Outage(seconds=lasts_s):
            seconds = lasts_s + 1
        case plan.RestartBroker():
            seconds = 4.0
        case plan.HeavyDevice() | plan.ForeignProducer():
            seconds = 1.0
        case _:
            seconds = 0.0
    return step.pause_s + seconds + (2 if step.settle else 0.1)


def _judge(chaos: _Chaos, order: Order, recoveries: Recoveries, watch: LedgerWatch) -> Outcome:
    load, tally = chaos.load, chaos.fleet.tally
    policy = Policy(idle_timeout_ms=_IDLE_S * 1_000)
    found = read(chaos.stack, chaos.logs_before)
    verdict = judge(load.sent, load.events, found, policy, load.misplaced, load.again)
    rebuild_differences = _rebuild_differences(chaos.stack)
    delivered = {
        "remakes": (len(chaos.logs_before), order.remakes),
        "kills": (tally.kills, order.kills),
        "rebalances": (tally.rebalances, order.rebalances),
        "faults": (chaos.faults, order.faults),
    }
    problems = [
        f"{name}: {done} of {wanted} delivered"
        for name, (done, wanted) in delivered.items()
        if done != wanted
    ]
    problems += [
        f"no {name} were asked for"
        for name, (_, wanted) in delivered.items()
        if not wanted and name != "remakes"
    ]
    if load.events < order.events:
        problems.append(f"events: {load.events} of {order.events} delivered")
    problems += [*tally.unclean, *watch.problems]
    if not watch.looks:
        problems.append("nobody looked at the ledger meanwhile")
    if not verdict.rows_checked:
        problems.append("no row was checked")
    if rebuild_differences:
        problems.append(f"rebuild --dry-run finds {rebuild_differences} differences")
    if chaos.acts_without_load:
        problems.append(f"{chaos.acts_without_load} acts came after the load had ended")
    numbers = {
        "events": load.events,
        "heavy_devices": order.heavy + order.remakes,
        "foreign_producers": order.foreign + order.remakes,
        "misplaced": load.misplaced,
        "stamped_anew": len(load.again),
        "ledger_looks": watch.looks,
        **{name: done for name, (done, _) in delivered.items()},
        "rows_checked": verdict.rows_checked,
        "missing": verdict.missing,
        "double": verdict.double,
        "wrong": verdict.wrong,
        "recovery_s_median": round(statistics.median(recoveries.seconds or [0]), 1),
        "recovery_s_max": round(max(recoveries.seconds, default=0), 1),
        "recoveries": len(recoveries.seconds),
        "kills_before_ready": tally.kills_before_ready,
        "freezes": tally.freezes,
        "broker_restarts": chaos.broker_restarts,
        "sigterm_s_max": round(max(tally.sigterm_s, default=0), 1),
        "rebuild_differences": rebuild_differences,
        "seed": order.seed,
    }
    return Outcome(numbers, verdict, problems)


def _rebuild_differences(stack: Stack) -> int:
    printed = stack.run("rebuild", "--dry-run")
    if "no difference" in printed:
        return 0
    found = re.search(r"^(\d+) sessions differ", printed, re.MULTILINE)
    assert found, f"rebuild --dry-run says neither: {printed[-500:]}"
    return int(found[1])


def run_alone(order: Order, say: Callable[[str], None]) -> Outcome:
    """A run with a ClickHouse and a folder of its own, which is deleted if all went well."""
    folder = Path(tempfile.mkdtemp(prefix="session-pipeline-chaos-"))
    say(f"logs are in {folder}")
    with EmbeddedClickHouse(folder=folder / "clickhouse") as clickhouse:
        outcome = run(order, folder, clickhouse, say)
    if outcome.is_good:
        shutil.rmtree(folder)
    return outcome
