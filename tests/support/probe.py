"""Asking a worker whether it is ready, and for its metrics."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from pipeline.embedded.child import LOOPBACK, free_port

NOTICED_WITHIN_S = 15.0


class Probe:
    """Asks the pages of a worker."""

    def __init__(self) -> None:
        self.port = free_port()

    def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def faults(self) -> dict[str, str]:
        status, said = self.ask("/readyz")
        assert (status == 200) == said["ready"] == (not said["faults"])
        return {fault["part"]: fault["reason"] for fault in said["faults"]}

    def wait(self, *parts: str) -> dict[str, str]:
        """Wait until these parts are at fault, and without any until none is; the reasons of these."""
        deadline_s = time.monotonic() + NOTICED_WITHIN_S
        while True:
            found = {
                part: reason for part, reason in self.faults().items() if kind_of(part) in parts or not parts
            }
            if {kind_of(part) for part in found} == set(parts):
                return found
            assert time.monotonic() < deadline_s, f"{found}, expected {parts}"
            time.sleep(0.2)

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of a series of /metrics; None where there is none."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None


def kind_of(part: str) -> str:
    """`kafka` of `sink kafka`."""
    return part.rpartition(" ")[2]
