"""What `up` tells the other commands of its user: for as long as it runs, and of this machine alone."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from pipeline.embedded.running import announced, completed
from pipeline.settings import Settings

RUNNING = "http://default:se-cret_1@127.0.0.1:8123/app_sessions"


def test_the_usual_url_needs_no_setting_while_it_runs(tmp_path: Path) -> None:
    usual = Settings().clickhouse_url
    assert completed(usual, tmp_path / "none") == usual
    with announced(tmp_path, RUNNING) as file:
        assert completed(usual, tmp_path) == "http://default:se-cret_1@localhost:8123/app_sessions"
        assert completed("http://127.0.0.1/other", tmp_path) == "http://default:se-cret_1@127.0.0.1/other"
        assert completed("http://[::1]:8123/d", tmp_path) == "http://default:se-cret_1@[::1]:8123/d"
        assert (file.stat().st_mode & 0o777, tmp_path.stat().st_mode & 0o777) == (0o600, 0o700)
    assert completed(usual, tmp_path) == usual
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8124/app_sessions",
        "http://clickhouse:8123/app_sessions",
        "http://127.0.0.1.example.org:8123/app_sessions",
        "https://localhost:8123/app_sessions",
        "http://somebody@localhost:8123/app_sessions",
        "http://:@localhost:8123/app_sessions",
        "http://somebody:else@localhost:8123/app_sessions",
    ],
)
def test_the_password_goes_to_nobody_else(tmp_path: Path, url: str) -> None:
    with announced(tmp_path, RUNNING):
        assert completed(url, tmp_path) == url


def _announce_and_die(folder: str) -> None:
    with announced(Path(folder), RUNNING):
        os._exit(9)


def test_what_a_killed_one_left_is_not_believed(tmp_path: Path) -> None:
    usual = Settings().clickhouse_url
    child = multiprocessing.get_context("fork").Process(target=_announce_and_die, args=(str(tmp_path),))
    child.start()
    child.join()
    assert (tmp_path / "clickhouse-8123").read_text() == f"{RUNNING}\n"
    assert completed(usual, tmp_path) == usual
    # And stands in nobody's way.
    with announced(tmp_path, RUNNING):
        assert completed(usual, tmp_path) != usual
