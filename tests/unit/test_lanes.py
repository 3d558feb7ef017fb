"""The lanes of the suite: what is not quick enough fails, and the whole suite runs in several processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import conftest


def test_a_test_that_takes_too_much_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(marker: object, took_s: float) -> None:
        clock = iter([1.0, 1.0 + took_s])
        item: Any = SimpleNamespace(get_closest_marker=lambda name: marker)
        # Not until the end of the test: this one is measured by the same clock.
        with monkeypatch.context() as patch:
            patch.setattr(conftest, "_cpu_s", lambda: next(clock))
            steps = conftest._kept_quick(item)
            next(steps)
            steps.send(None)

    with pytest.raises(pytest.fail.Exception, match=r"took 6\.1 s of CPU"):
        run(None, conftest.QUICK_CPU_S + 0.1)
    with pytest.raises(StopIteration):
        run(pytest.mark.slow, conftest.SLOW_CPU_S)
    with pytest.raises(pytest.fail.Exception, match=r"took 150\.1 s of CPU"):
        run(pytest.mark.slow, conftest.SLOW_CPU_S + 0.1)


def told(*, source: str = "TESTPATHS", worker: bool = False, cores: int = 2, **options: object) -> Any:
    """What pytest-xdist finds in its options, if a user gave these."""
    given = {"usepdb": False, "trace": False, "collectonly": False, "capture": "fd"}
    config: Any = SimpleNamespace(args_source=pytest.Config.ArgsSource[source])
    config.pluginmanager = SimpleNamespace(register=lambda plugin: None)
    config.option = SimpleNamespace(**{**given, "numprocesses": None, "dist": "no", **options})
    if worker:
        config.workerinput = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest.os, "cpu_count", lambda: cores)
        conftest.pytest_cmdline_main(config)
    return getattr(config.option, "numprocesses", "unknown"), config.option.dist


def test_the_whole_suite_runs_in_three_processes_and_a_file_in_one_of_them() -> None:
    assert told() == (3, "loadfile")
    assert told(worker=True) == (None, "no"), "a worker starts no workers"


def test_files_that_share_a_filled_database_run_in_one_process() -> None:
    assert conftest.together("tests/dashboard/test_api.py") == conftest.together(
        "tests/dashboard/test_pages.py"
    )
    for file in ("tests/dashboard/test_browser.py", "tests/unit/test_rows.py"):
        assert conftest.together(file) == file
    own = {
        file.name for file in (Path(__file__).parents[1] / "dashboard").glob("test_*.py")
    } & conftest.OF_THEIR_OWN
    assert own == conftest.OF_THEIR_OWN


@pytest.mark.parametrize(
    "given",
    [
        {"source": "ARGS"}, {"cores": 1}, {"usepdb": True}, {"trace": True}, {"collectonly": True}, {"capture": "no"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_looked_at_runs_in_one_process(given: dict[str, Any]) -> None:
    assert told(**given) == (None, "no")


def test_what_the_user_says_about_processes_counts() -> None:
    assert told(numprocesses=0, dist="load") == (0, "load")
    assert told(numprocesses=4, dist="load") == (4, "load")


def test_without_xdist_it_runs_in_one_process() -> None:
    config: Any = SimpleNamespace(args_source=pytest.Config.ArgsSource.TESTPATHS, option=SimpleNamespace())
    assert not conftest._runs_side_by_side(config)


def test_what_takes_long_is_listed_with_what_was_started_for_it() -> None:
    def report(test: str, when: Any, duration: float) -> pytest.TestReport:
        return pytest.TestReport(test, ("", 0, ""), {}, "passed", None, when, duration=duration)

    lines: list[str] = []
    terminal: Any = SimpleNamespace(section=lambda title, sep: lines.append(title), line=lines.append)
    long_s = conftest.LONG_S
    terminal.stats = {
        "passed": [
            report("a", "call", long_s),
            report("b", "call", long_s - 1),
            report("c", "call", long_s * 3),
        ],
        "": [report("a", "setup", 0), report("b", "setup", 2), report("b", "teardown", 0.5)],
        "deselected": [object()],
    }
    conftest.pytest_terminal_summary(terminal)
    assert lines == ["longer than 15 s, with what was started for it", "  45.0 s c", "  16.5 s b"]
    lines.clear()
    terminal.stats = {"passed": [report("a", "call", long_s)]}
    conftest.pytest_terminal_summary(terminal)
    assert not lines


def test_no_example_has_a_deadline() -> None:
    """Three processes and their services share the machine: by default one example may take 200 ms."""
    assert settings.default is not None and settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
