"""Asks every process for its metrics, every two seconds, as Prometheus would."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from types import TracebackType

from prometheus_client.parser import text_string_to_metric_families

from pipeline.embedded.child import LOOPBACK
from tests.faults.recording import STEP_S, Recording, Series, named_in_rules, played, text_of

_ANSWERS_S = 1.5
_SHOWN = 16
_SAYS_LITTLE = (
    "_sum",
    "_bucket",
    "_info",
    "_timestamp_seconds",
    "_connections",
    "_in_flight",
    "_bytes_total",
)
_BUCKETS = ("15.0", "300.0")
"""Of histograms, those that rules go by."""


class Recorder:
    """A thread that asks, from `with` to its end."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        """`ports`: of those to be asked by now, by name; it may change meanwhile."""
        self._ports = ports
        self._taken: list[dict[Series, float]] = []
        self._began_s = time.time()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="recorder", daemon=True)

    @property
    def steps(self) -> int:
        """How many samples there are."""
        return len(self._taken)

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()

    def _ask(self) -> None:
        due_s = time.monotonic()
        while not self._ends.is_set():
            taken: dict[Series, float] = {}
            for name, port in dict(self._ports).items():
                taken.update(_scrape(name, port))
            self._taken.append(taken)
            # Where one does not answer in time the next samples come at once: there is one for every step.
            due_s += STEP_S
            self._ends.wait(max(0.0, due_s - time.monotonic()))

    def note(self, recording: Recording, fault_at: int, ends_at: int) -> None:
        """What was taken so far, into a recording."""
        taken = list(self._taken)
        recording.steps, recording.fault_at, recording.ends_at = len(taken), fault_at, ends_at
        names = named_in_rules()
        everything = sorted({series for sample in taken for series in sample})
        recording.series = {
            text_of(series): played(series, [sample.get(series) for sample in taken], self._began_s)
            for series in everything
            # What was zero all the while tells no rule anything.
            if series[0] in names and any(sample.get(series) for sample in taken)
        }
        moved = list(_moved(everything, taken, fault_at, ends_at))
        # What rules go by comes first.
        moved.sort(key=lambda line: line[0].partition("{")[0] not in names)
        recording.moved = moved[:_SHOWN]


def ask(port: int, path: str) -> tuple[int, str]:
    """What a page of a process answers; 0 where nobody does."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=_ANSWERS_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def page(port: int, path: str) -> str:
    """The same in a line."""
    status, body = ask(port, path)
    if not status:
        return "no answer: the process has ended"
    try:
        return f"{status} {json.dumps(json.loads(body), ensure_ascii=False)}"
    except ValueError:
        return f"{status} {' '.join(body.split())}"


def _scrape(name: str, port: int) -> dict[Series, float]:
    status, text = ask(port, "/metrics")
    if status != 200:
        return {}
    return {
        (sample.name, (("instance", name), *sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("pipeline_")
        and not sample.name.endswith("_created")
        and sample.labels.get("le", _BUCKETS[0]) in _BUCKETS
    }


def _moved(
    everything: Iterable[Series], taken: list[dict[Series, float]], fault_at: int, ends_at: int
) -> Iterable[list[str]]:
    """Of each series that was another while the fault lasted: before, meanwhile, at the end."""
    for series in everything:
        name = series[0]
        if name.endswith(_SAYS_LITTLE):
            continue
        parts = (taken[:fault_at], taken[fault_at:ends_at], taken[ends_at:])
        values = [[sample[series] for sample in part if series in sample] for part in parts]
        if name.endswith(("_total", "_count")):
            rates = [_rate(part) for part in values]
            quick = max(rates)
            if quick and (min(rates[0], rates[1]) < quick * 0.2 and max(rates[0], rates[1]) >= quick * 0.2):
                yield [text_of(series), *(f"{rate:.1f}/s" if rate else "0/s" for rate in rates)]
            continue
        told = [_gauge(part) for part in values]
        if _differs(values[0], values[1]):
            yield [text_of(series), *told]


def _rate(values: list[float]) -> float:
    # One that was started anew counts from nothing.
    return max(0.0, values[-1] - values[0]) / ((len(values) - 1) * STEP_S) if len(values) > 1 else 0.0


def _gauge(values: list[float]) -> str:
    if not values:
        return "none"
    low, high = min(values), max(values)
    return f"{high:.0f}" if round(low) == round(high) else f"{low:.0f} to {high:.0f}"


def _differs(before: list[float], meanwhile: list[float]) -> bool:
    """Whether it left what is usual: by more than a half, and by more than a little."""
    if not before or not meanwhile:
        # A process that came or went: what it has none of says nothing.
        return any(before or meanwhile) and bool(before) != bool(meanwhile)
    low, high = min(before), max(before)
    slack = max(0.9, abs(high) * 0.5, high - low)
    return max(meanwhile) > high + slack or min(meanwhile) < low - slack
