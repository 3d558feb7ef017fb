"""What `up` asks of those beyond this machine, and tells them."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.commands.let_in import keys_needed, lines_for_senders
from pipeline.embedded.child import LOOPBACK, StartError, free_port, require_free
from pipeline.formats import native
from pipeline.receive.keys import Keys
from tests.support.receiving import served
from tests.support.stack import unavailable


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "laptop.example"])
def test_nobody_beyond_this_machine_sends_without_a_key(tmp_path: Path, host: str) -> None:
    file = keys_needed(host, "", tmp_path)
    keys = Keys.read(Path(file).read_text("utf-8"))
    said = lines_for_senders(host, 4318, file)
    key = said.partition("Bearer%20")[2].split()[0]
    grant = keys.of(key)
    assert grant and not grant.refused({"any.app"})
    assert f"Bearer {key}" in said and "://0.0.0.0" not in said and "://[::]" not in said
    assert keys_needed(host, "", tmp_path) == file and keys.of(key), "the same at the next start"
    assert f":4318/v1/events with the header Authorization: Bearer {key}\n" in said


def test_the_line_to_try_sends_an_event_of_now_which_is_taken(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        unavailable("curl is not installed")
    file = keys_needed("192.0.2.7", "", tmp_path)
    keys = Keys.read(Path(file).read_text("utf-8"))
    with served(keys=keys) as receive:
        said = lines_for_senders("192.0.2.7", 4318, file)
        line = said.partition("to try")[2].strip().replace("192.0.2.7:4318", f"{LOOPBACK}:{receive.port}")
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20, check=True)
        assert done.stdout == '{"accepted":1,"refused":[]}'
        (record,) = receive.writer.records
    read = native.decode(record.value, record.key, int(time.time() * 1_000))
    assert isinstance(read, native.Envelope) and not read.refused and not read.repaired
    assert abs(read.events[0].time_ms - time.time() * 1_000) < 60_000


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_this_machine_none_is_made(tmp_path: Path, host: str) -> None:
    assert (keys_needed(host, "", tmp_path), lines_for_senders(host, 4318, "")) == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        '[[keys]]\nkey = "sha256:00"\napps = ["*"]',
        '[[keys]]\nkey = "first-key"\n[[keys]]\nkey = "second-key"',
        "no TOML",
    ],
)
def test_keys_of_the_operator_s_own_file_are_not_said(tmp_path: Path, text: str) -> None:
    (file := tmp_path / "own.toml").write_text(text)
    assert keys_needed("0.0.0.0", str(file), tmp_path) == str(file)
    said = lines_for_senders("192.0.2.7", 4318, str(file))
    assert str(file) in said and "Bearer%20KEY" in said and "-key" not in said.replace(str(file), "")


def test_an_address_of_another_machine_is_named_before_anything_starts() -> None:
    with pytest.raises(
        StartError, match=r"receive cannot listen on 203\.0\.113\.7:\d+: .*address of this machine"
    ):
        require_free(free_port(), "receive", "203.0.113.7")
