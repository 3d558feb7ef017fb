"""Every failure has a name below one base, and reaches the user as one line and an exit code."""

from __future__ import annotations

import ast
import asyncio
import builtins
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

import aiokafka.errors
import pytest
from typer.testing import CliRunner

from pipeline import cli, wiring
from pipeline.embedded.child import free_port
from pipeline.errors import PipelineError, Terminal, Transient, UnusablePath, path_of
from pipeline.kafka import errors as kafka_errors_module
from pipeline.kafka.admin import commits, ensure_topics, group_members, log_bounds, topic_partitions
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused, kafka_errors
from pipeline.kafka.produce import RecordToSend, produce, producer_of
from pipeline.kafka.topic_ids import ids_of
from pipeline.settings import load, unknown
from pipeline.topics import TP

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipeline"


@cache
def trees() -> dict[Path, ast.Module]:
    """What every module of the package is, by its path."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def bases() -> dict[str, list[str]]:
    """Every class of the package by name, with the last part of what it is derived from."""
    return {
        node.name: [ast.unparse(base).split(".")[-1] for base in node.bases]
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def ancestors(name: str, known: dict[str, list[str]]) -> set[str]:
    found = set(known.get(name, []))
    return found.union(*(ancestors(base, known) for base in found))


def is_exception(name: str, known: dict[str, list[str]]) -> bool:
    """Whether it is an Exception. A KeyboardInterrupt is none: it is a signal that came, and no failure."""
    kinds = (getattr(builtins, base, None) for base in ancestors(name, known))
    return any(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds)


def test_every_exception_says_whether_it_is_terminal_or_transient() -> None:
    known = bases()
    exceptions = {name for name in known if is_exception(name, known)}
    assert len(exceptions) > 30, "the exceptions were not found"
    raised = {
        ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc).split(".")[-1]
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and node.exc is not None
    }
    parents = {base for name in exceptions for base in known[name]}
    wrong = []
    for name in sorted(exceptions - {"PipelineError", "Terminal", "Transient"}):
        kinds = ancestors(name, known) & {"Terminal", "Transient"}
        if name.startswith("_"):
            continue  # control flow within its module
        if "PipelineError" not in ancestors(name, known):
            wrong.append(f"{name} is no PipelineError")
        elif len(kinds) != 1 and (kinds or name not in parents or name in raised):
            wrong.append(
                f"{name} is to be one of Terminal and Transient, and is {sorted(kinds) or 'neither'}"
            )
    assert not wrong, "\n".join(wrong)
    assert not raised & {"PipelineError", "Terminal", "Transient"}, "a failure is raised by its own name"


def test_an_exception_that_is_private_does_not_leave_its_module() -> None:
    known = bases()
    private = {name for name in known if name.startswith("_") and is_exception(name, known)}
    assert private
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert not private & {alias.name for alias in node.names}, path


def test_the_command_line_imports_by_their_own_names() -> None:
    renamed = [
        ast.unparse(node)
        for node in ast.walk(trees()[PACKAGE / "cli.py"])
        if isinstance(node, ast.Import | ast.ImportFrom) and any(alias.asname for alias in node.names)
    ]
    assert not renamed


def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit code and stderr of the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["session-pipeline", *arguments])
    monkeypatch.setattr(cli, "log_for_command", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


class Down(Transient):
    """Of this test."""


class Wrong(Terminal):
    """Of this test."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Down("no broker"), 1, "session-pipeline: no broker\n"),
        (Wrong("two\n  lines"), 1, "session-pipeline: two lines\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "session-pipeline: /x: Permission denied\n"),
        (OSError(28, "No space left on device"), 1, "session-pipeline: No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(wiring, "settings", fail)
    assert run_main(monkeypatch, capsys, "migrate") == (code, line)


@pytest.mark.parametrize(
    "error", [KeyError("app"), AssertionError("a\nb"), TimeoutError(), BrokenPipeError(32, "Broken pipe")]
)
def test_a_fault_of_the_program_is_one_line_that_says_what_to_report(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(wiring, "settings", fail)
    monkeypatch.delenv("PIPELINE_DEBUG", raising=False)
    code, said = run_main(monkeypatch, capsys, "migrate")
    assert code == 70
    assert said.startswith(f"session-pipeline: unexpected {type(error).__name__}")
    assert "report" in said and "PIPELINE_DEBUG=1" in said and "test_errors.py:" in said
    assert said.count("\n") == 1

    monkeypatch.setenv("PIPELINE_DEBUG", "1")
    code, said = run_main(monkeypatch, capsys, "migrate")
    assert code == 70
    assert said.startswith("Traceback") and said.splitlines()[-1].startswith("session-pipeline: unexpected ")


def test_asking_for_tracebacks_is_no_misspelt_setting() -> None:
    assert unknown({"PIPELINE_DEBUG": "1"}) == []
    assert load({"PIPELINE_DEBUG": "1"}) == load({})


def test_what_a_worker_does_not_expect_is_in_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline.commands import worker  # noqa: PLC0415 - imports Faust

    def fail(*_: object) -> int:
        raise KeyError("partition")

    monkeypatch.setattr(worker, "run_worker", fail)
    monkeypatch.delenv("PIPELINE_DEBUG", raising=False)
    code, said = run_main(monkeypatch, capsys, "worker", "--role", "sink")
    assert code == 70 and said.count("\n") == 1
    assert [record.exc_info is not None for record in caplog.records] == [True]


_PRINTS = """
import sys
from rich.console import Console
from pipeline import cli, wiring
def settings():
    for _ in range(100_000):
        {show}("a line that is longer than nothing")
    sys.exit("was not stopped")
wiring.settings = settings
cli.main()
"""


@pytest.mark.parametrize("show", ["print", "Console().print"])
def test_a_reader_that_has_enough_ends_a_command_quietly(show: str) -> None:
    program = [sys.executable, "-c", _PRINTS.format(show=show), "migrate"]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_full_disk_behind_the_output_is_named() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", _PRINTS.format(show="print"), "migrate"],
            cwd=ROOT,
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "session-pipeline: No space left on device\n")


def test_ctrl_c_ends_a_command_with_130_and_no_traceback() -> None:
    program = (
        "import time\nfrom pipeline import cli, wiring\n"
        "def settings():\n    print('ready', flush=True)\n    time.sleep(60)\nwiring.settings = settings\ncli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "migrate"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130


def test_commands_are_known_before_they_are_loaded() -> None:
    """Their names, which is enough to say what somebody may have meant; groups offer nothing that writes to a shell."""
    told = CliRunner().invoke(cli.app, ["vaildate"])
    assert told.exit_code == 2 and "'validate'" in told.output
    for group in ("alerts", "dead-letters", "policies", "symbols"):
        told = CliRunner().invoke(cli.app, [group, "--help"])
        assert told.exit_code == 0 and "Commands" in told.output and "completion" not in told.output


@pytest.mark.parametrize(
    ("loading", "command"),
    [
        ("pipeline.cli", "--version"),
        ("typer", "--version"),
        ("aiokafka", "send"),
        ("pipeline.commands.traffic", "send"),
    ],
)
def test_ctrl_c_while_the_program_is_loaded_ends_it_in_the_same_way(loading: str, command: str) -> None:
    program = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        f"        name == {loading!r} and os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "runpy.run_module('pipeline', run_name='__main__', alter_sys=True)"
    )
    words = [sys.executable, "-c", program, command]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "--events", "1", "--out", "{file}/events"),
        ("send", "{folder}"),
        ("send", "{file}/events"),
        ("up", "--data", "{file}/data"),
        ("demo", "--data", "{file}/data"),
        ("dashboard", "--port", "0"),
    ],
    ids=" ".join,
)
def test_a_path_that_cannot_be_used_is_named(
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("PIPELINE_DASHBOARD_DIR", f"{file}/kept")
    monkeypatch.setenv("PIPELINE_DASHBOARD_PASSWORD", "a long enough one")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    umask = os.umask(0o022)
    try:
        named = [each.format(file=file, folder=tmp_path) for each in arguments]
        code, said = run_main(monkeypatch, capsys, *named)
    finally:
        os.umask(umask)
    assert code == 1
    assert said.startswith("session-pipeline: ") and said.count("\n") == 1, said
    assert str(tmp_path) in said


def test_a_clickhouse_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("PIPELINE_CLICKHOUSE_URL", f"http://me:secret@{at}/app_sessions")
    code, said = run_main(monkeypatch, capsys, "query", "SELECT 1")
    assert code == 1
    assert said.startswith("session-pipeline: ClickHouse at http://") and at in said and "secret" not in said
    assert "does not answer: Connection refused. Check that it runs" in said and said.count("\n") == 1


def test_standard_input_that_is_no_text_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "sql").write_bytes(b"SELECT '\xff'")
    with (tmp_path / "sql").open(encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        code, said = run_main(monkeypatch, capsys, "query", "-")
    assert (code, said.count("\n")) == (1, 1)
    assert "UTF-8" in said


def test_a_path_is_named_by_the_option_that_gave_it() -> None:
    with (
        pytest.raises(UnusablePath, match=r"^--out: cannot use /x: Permission denied$"),
        path_of("--out", "/x"),
    ):
        raise PermissionError(13, "Permission denied")


def test_what_the_kafka_client_raises_is_turned_into_ours() -> None:
    theirs = [
        kind
        for kind in vars(aiokafka.errors).values()
        if isinstance(kind, type) and issubclass(kind, aiokafka.errors.KafkaError)
    ]
    assert len(theirs) > 50
    for kind in theirs:
        if kind is aiokafka.errors.BrokerResponseError:
            continue  # cannot be printed: only those below it are raised
        error = kind.__new__(kind)  # some ask for arguments
        with (
            pytest.raises((BrokerUnavailable, KafkaRefused), match="Kafka at here:1 ") as raised,
            kafka_errors("here:1"),
        ):
            raise error
        assert not error.retriable or raised.type is BrokerUnavailable, kind
    for kind, ours in {
        aiokafka.errors.KafkaConnectionError: BrokerUnavailable,
        aiokafka.errors.KafkaTimeoutError: BrokerUnavailable,
        aiokafka.errors.TopicAuthorizationFailedError: KafkaRefused,
        aiokafka.errors.MessageSizeTooLargeError: KafkaRefused,
        TimeoutError: BrokerUnavailable,
    }.items():
        with pytest.raises(ours), kafka_errors("here:1"):
            raise kind
    for kind in (aiokafka.errors.AuthenticationFailedError, aiokafka.errors.TopicAuthorizationFailedError):
        with pytest.raises(KafkaRefused, match="PIPELINE_KAFKA_USERNAME"), kafka_errors("here:1"):
            raise kind


def test_what_others_take_from_the_kafka_folder_is_ours() -> None:
    found = [kind for kind in vars(kafka_errors_module).values() if isinstance(kind, type)]
    assert [
        kind for kind in found if issubclass(kind, Exception) and not issubclass(kind, PipelineError)
    ] == []


async def _take(connection: KafkaConnection) -> None:
    async with producer_of(connection):
        pass


@pytest.mark.parametrize(
    "ask",
    [
        lambda to: topic_partitions(to, ["a"]),
        lambda to: log_bounds(to, [TP("a", 0)]),
        lambda to: commits(to, "group", ["a"]),
        lambda to: group_members(to, "group"),
        lambda to: ensure_topics(to, {"a": (1, {})}),
        lambda to: ids_of(to, ["a"]),
        lambda to: produce(to, [RecordToSend("a", None, b"")]),
        _take,
    ],
    ids=["partitions", "bounds", "commits", "members", "ensure", "ids", "produce", "producer"],
)
def test_a_broker_that_is_not_there_is_named(
    ask: Callable[[KafkaConnection], Coroutine[Any, Any, Any]],
) -> None:
    address = f"127.0.0.1:{free_port()}"
    started_s = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=f"Kafka at {address} does not answer"):
        asyncio.run(ask(KafkaConnection(address)))
    assert time.monotonic() - started_s < 5


def test_an_authority_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(UnusablePath, match=r"PIPELINE_KAFKA_CA_FILE: cannot use .*ca\.pem"):
        KafkaConnection("a:1", security="SSL", ca_file=str(tmp_path / "ca.pem")).client_options()
