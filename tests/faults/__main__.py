"""The operator's table, tried: each fault on a running pipeline on Apache Kafka, and what is to be seen of it.

Records what probes, metrics and logs say (tests/prometheus/recorded), asks promtool which alerts fire, and writes
deploy/FAULTS.md. Without names all faults are done, one after the other, which takes half an hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.faults import document
from tests.faults.recorder import Recorder
from tests.faults.recording import Recording, alerts_of, load_all, save
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.scene import Scene, scene
from tests.support.deploy_tools import promtool
from tests.support.services import Unavailable

_SCENARIOS = {scenario.name: scenario for scenario in SCENARIOS}


def play(where: Scene, scenario: Scenario, seconds: float) -> Recording:
    """Normal work, the fault, and what comes after."""
    with Recorder(where.ports) as recorder:
        where.rest(scenario.before_s)
        where.mark()
        fault_at = recorder.steps
        scenario.act(where, seconds)
        said = where.said()
        ends_at = recorder.steps
        if not scenario.ends_scene:
            scenario.mend(where)
            where.rest(scenario.after_s)
    recording = Recording(
        *(scenario.name, scenario.title, scenario.done, scenario.cause, scenario.remedy, scenario.runbook),
        said=said,
    )
    recorder.note(recording, fault_at, ends_at)
    return recording


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*_SCENARIOS, []], help="of faults; all")
    parser.add_argument("--seconds", type=float, help="how long each fault lasts; as long as it needs")
    parser.add_argument(
        "--document", action="store_true", help="only ask promtool anew, and write deploy/FAULTS.md"
    )
    given = parser.parse_args()
    left = [] if given.document else [_SCENARIOS[name] for name in given.names] or list(SCENARIOS)
    with tempfile.TemporaryDirectory(prefix="session-pipeline-faults-") as temporary:
        try:
            promtool()
            _run(left, Path(temporary), given.seconds)
        except Unavailable as reason:
            print(f"error: {reason}", file=sys.stderr)
            return 1
    recorded = sorted(load_all(), key=lambda each: list(_SCENARIOS).index(each.name))
    for each in recorded:
        # Rules and words may be others than when it was recorded.
        scenario = _SCENARIOS[each.name]
        each.title, each.done, each.runbook = scenario.title, scenario.done, scenario.runbook
        each.cause, each.remedy, each.alerts = scenario.cause, scenario.remedy, alerts_of(each)
        save(each)
    document.write(recorded)
    return 0


def _run(left: list[Scenario], folder: Path, seconds: float | None) -> None:
    if not left:
        return
    with EmbeddedClickHouse(folder=folder / "clickhouse") as clickhouse:
        while left:
            with scene(clickhouse, folder / f"scene-{len(left)}") as where:
                is_whole = True
                while left and is_whole:
                    scenario = left.pop(0)
                    recording = play(where, scenario, seconds or scenario.seconds)
                    save(recording)
                    recording.alerts = alerts_of(recording)
                    save(recording)
                    print(f"{scenario.name}: {', '.join(recording.alerts) or 'no alert'}", flush=True)
                    is_whole = not scenario.ends_scene


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
