"""A disk that is full, for real: it is named, nothing is acknowledged that is not stored, and space is all it takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.stack import SIMULATE, Stack, logs_if_failed, running_stack
from tests.support.stored_fold import assert_sessions_are_the_fold

_PATIENCE_S = 60.0
_LOAD = (*SIMULATE, "--devices", "40", "--seed", "5", "--events")


class Disk:
    """A small disk, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Take all the space that is left."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError as error:
                    assert "No space left" in str(error)
        assert shutil.disk_usage(self.folder).free == 0

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    """`make_disk(megabytes)`. Skips where mounting is not allowed."""
    mounted: list[Path] = []

    def make(megabytes: int) -> Disk:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        options = f"size={megabytes}m,mode=700,uid={os.getuid()},gid={os.getgid()}"
        done = _as_root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.strip()}")
        mounted.append(folder)
        return Disk(folder)

    yield make
    for folder in mounted:
        done = _as_root("umount", str(folder))
        assert done.returncode == 0, done.stderr


def _as_root(*command: str) -> subprocess.CompletedProcess[str]:
    su = () if os.getuid() == 0 or not shutil.which("sudo") else ("sudo", "-n")
    return subprocess.run([*su, *command], capture_output=True, text=True, timeout=30, check=False)


def wait_for_log(stack: Stack, name: str, pattern: str) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not re.search(pattern, stack.log_file(name).read_text()):
        assert time.monotonic() < deadline_s, f"{name} does not say {pattern!r}\n{stack.log_tails()}"
        time.sleep(0.1)


@contextmanager
def load(stack: Stack, request: pytest.FixtureRequest) -> Iterator[None]:
    """Half of the load is stored before, all of it afterwards."""
    with logs_if_failed(request, stack):
        stack.start_workers("sessionizer", "sink")
        stack.run(*_LOAD, "2000")
        stack.wait_idle()
        yield
        stack.wait_idle()
        (account,) = stack.query(
            "SELECT sum(received) AS received, sum(events + duplicates + refused) AS found FROM ledger"
        )
        assert account["received"] == account["found"] >= 2_000 + 20_000
        assert assert_sessions_are_the_fold(stack) > 0


def test_of_clickhouse(
    make_disk: Callable[[int], Disk], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    disk = make_disk(96)
    with (
        EmbeddedClickHouse(folder=disk.folder) as clickhouse,
        running_stack("kafka", clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        load(stack, request),
    ):
        disk.fill()
        stack.run(*_LOAD, "20000")
        wait_for_log(
            stack,
            "sink-1",
            r"took no rows for z_(?:envelope|event)_feed \(try 3, .*(?i:no space left|enough space)",
        )
        assert stack.workers["sink-1"].is_running
        disk.free()
        wait_for_log(stack, "sink-1", r"takes rows for z_(?:envelope|event)_feed again")


def test_of_kafka(
    make_disk: Callable[[int], Disk],
    clickhouse: EmbeddedClickHouse,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The broker ends by itself; the workers wait for it."""
    disk = make_disk(256)
    (tmp_path / "broker").symlink_to(disk.folder, target_is_directory=True)
    with (
        running_stack("kafka", clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        load(stack, request),
    ):
        disk.fill()
        sending = stack.begin(*_LOAD, "20000")
        for role in ("sessionizer-1", "sink-1"):
            wait_for_log(stack, role, r"Kafka has not answered a heartbeat for \d+ s")
        sending.kill()
        disk.free()
        stack.broker.restart()
        # What got through before comes twice, which changes nothing.
        stack.run(*_LOAD, "20000")
