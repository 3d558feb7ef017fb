"""What is forked, and not loaded, is a process like any other."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline import __version__
from tests.support.forked import Forked, run_forked

ENVIRONMENT = {"PATH": os.environ["PATH"], "PIPELINE_KAFKA_BOOTSTRAP": "127.0.0.1:1", "TZ": "UTC"}


def test_it_has_its_arguments_environment_folder_output_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text('{"v": 1}\n')
    for code, said, *arguments in (
        (0, __version__, "--version"),
        (1, "events.ndjson:1: refused", "validate", "events.ndjson"),
    ):
        done = run_forked(arguments, env=ENVIRONMENT, cwd=tmp_path, timeout_s=20)
        assert done.returncode == code and said in done.stdout, done
    done = run_forked(
        ["status"], env={**ENVIRONMENT, "PIPELINE_KAFKA_BOOTSTRAP": "nowhere"}, cwd=tmp_path, timeout_s=20
    )
    assert done.returncode == 1 and "kafka_bootstrap" in done.stderr
    with pytest.raises(subprocess.TimeoutExpired):
        run_forked(["worker", "--role", "sink"], env=ENVIRONMENT, cwd=tmp_path, timeout_s=0.2)


def test_signals_reach_it_and_its_parent_is_who_asked(tmp_path: Path) -> None:
    for asked, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 0)):
        with (tmp_path / "log").open("wb") as log:
            arguments = ["worker", "--role", "sink"]
            worker = Forked(arguments, env=ENVIRONMENT, cwd=tmp_path, stdout=log, stderr=log)
        stat = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        assert int(stat[1]) == os.getpid()
        while b"waiting for Kafka" not in (tmp_path / "log").read_bytes():
            assert worker.poll() is None
        worker.send_signal(asked)
        assert worker.wait(20) == code
