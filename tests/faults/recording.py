"""What was recorded while something went wrong: samples of metrics, what probes and logs said, which alerts fire.

A recording is played to Prometheus' rules more slowly than it was made, since alerts wait for minutes: a sample of
every `STEP_S` is played as one of every `PLAYED_S`. Times and durations that metrics tell are stretched with it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.deploy_tools import promtool

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "prometheus" / "recorded"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
STEP_S = 2.0
PLAYED_S = 60.0
STRETCH = PLAYED_S / STEP_S

Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels in their order."""

_ALERT = re.compile(r'\{alertname="(\w+)"\} ([\d.E+-]+)')
_LABEL = re.compile(r"\{\{ \$(?:labels\.)?(\w+) \}\}")
_TIMES = "_timestamp_seconds"
_STRETCHED = ("pipeline_lag_seconds",)
"""Gauges in seconds that grow for as long as a fault lasts."""


@dataclass
class Said:
    """Of one process, at the end of a fault."""

    livez: str
    readyz: str
    log: list[str]
    """Its last lines."""


@dataclass
class Recording:
    """One fault: before it, while it lasts and after it."""

    name: str
    title: str
    done: str
    """What was done, in a sentence."""
    cause: str
    """A regular expression: what the cause is called by probes or log."""
    remedy: str
    """The same for what is to be done, or for that it goes on by itself."""
    runbook: str
    """The heading of the runbook that goes on."""
    fault_at: int = 0
    """The first sample of the fault."""
    ends_at: int = 0
    """The first sample after it."""
    steps: int = 0
    series: dict[str, str] = field(default_factory=dict)
    """As Prometheus writes a series, to its values as promtool writes them: those that rules name."""
    moved: list[list[str]] = field(default_factory=list)
    """Of each series that the fault moved: its name, before, while it lasted, after."""
    said: dict[str, Said] = field(default_factory=dict)
    alerts: dict[str, int] = field(default_factory=dict)
    """Those that fire, with the played minutes from the beginning of the fault."""

    @property
    def words(self) -> str:
        """All that probes and logs say, and the alerts that fire."""
        said = ("\n".join((each.readyz, *each.log)) for each in self.said.values())
        told = alert_texts()
        return "\n".join((*said, *(told[name] for name in self.alerts)))


def load(file: Path) -> Recording:
    """A recording that was saved."""
    read = json.loads(file.read_text(encoding="utf-8"))
    read["said"] = {name: Said(**each) for name, each in read["said"].items()}
    return Recording(**read)


def load_all() -> list[Recording]:
    """Those that are kept, in the order of their names."""
    return [load(file) for file in sorted(FOLDER.glob("*.json"))]


def save(recording: Recording, folder: Path = FOLDER) -> None:
    """Write it, a series a line."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(recording), indent=1, ensure_ascii=False)
    (folder / f"{recording.name}.json").write_text(f"{text}\n", encoding="utf-8")


def named_in_rules() -> set[str]:
    """The series that alerts go by."""
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return set(re.findall(r"\bpipeline_\w+", " ".join(rules)))


@cache
def alert_texts() -> Mapping[str, str]:
    """What each alert tells whoever is woken by it: summary and description, by its name."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    texts = {rule["alert"]: rule["annotations"] for rule in rules if "alert" in rule}
    told = {name: f"{text['summary']}. {text['description']}" for name, text in texts.items()}
    return {name: _LABEL.sub(lambda found: found[1].upper(), text) for name, text in told.items()}


def text_of(series: Series) -> str:
    """As Prometheus writes it."""
    name, labels = series
    inner = ",".join(f'{label}="{value}"' for label, value in labels)
    return f"{name}{{{inner}}}"


def played(series: Series, values: Sequence[float | None], began_s: float) -> str:
    """The values of a series in promtool's notation, stretched. None: the process did not answer."""
    name = series[0]
    if name.endswith(_TIMES):
        # Time begins with the recording.
        values = [value and (value - began_s) * STRETCH for value in values]
    elif name in _STRETCHED:
        values = [value and value * STRETCH for value in values]
    return " ".join(_runs(values))


def _runs(values: Iterable[float | None]) -> Iterator[str]:
    """`5 5 5 7` as `5x2 7`; the first that is missing as `stale`, as Prometheus marks what is gone."""
    run: tuple[str, int] | None = None
    before: float | None = None
    for value in values:
        word = _number(value) if value is not None else ("stale" if before is not None else "_")
        before = value
        if run is not None and run[0] == word and word != "stale":
            run = word, run[1] + 1
            continue
        if run is not None:
            yield _run(*run)
        run = word, 0
    if run is not None:
        yield _run(*run)


def _run(word: str, more: int) -> str:
    if word == "_":
        return f"_x{more + 1}"
    return f"{word}x{more}" if more else word


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.1f}"


_FIRED = 'group by (alertname) (count_over_time(ALERTS{alertstate="firing"}[12h]))'
_SINCE = 'min by (alertname) (min_over_time(timestamp(ALERTS{alertstate="firing"})[12h:1m]))'


def rule_test(recording: Recording) -> dict[str, Any]:
    """promtool's input: the recording, and the alerts that it must fire. When they do differs by a minute between
    releases of Prometheus, so that is no part of it."""
    fired = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(recording.alerts)]
    return _asked(recording, _FIRED, fired)


def _asked(recording: Recording, expression: str, wanted: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "name": recording.name,
                "interval": f"{PLAYED_S:.0f}s",
                "input_series": [
                    {"series": series, "values": values} for series, values in recording.series.items()
                ],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{recording.steps - 1}m", "exp_samples": wanted}
                ],
            }
        ],
    }


def ask_promtool(test: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Runs a test of rules. Unavailable without promtool."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(dict(test), file, width=10_000)
        file.flush()
        return subprocess.run(
            [promtool(), "test", "rules", file.name], capture_output=True, text=True, check=False
        )


def alerts_of(recording: Recording) -> dict[str, int]:
    """Which alerts a recording fires, by what promtool finds in place of none."""
    done = ask_promtool(_asked(recording, _SINCE, []))
    if done.returncode == 0:
        return {}
    text = done.stdout + done.stderr
    found = {name: float(at) for name, at in _ALERT.findall(text.partition("got:")[2])}
    assert found, text
    begins = recording.fault_at * PLAYED_S
    return {name: round((at - begins) / 60) for name, at in sorted(found.items())}
