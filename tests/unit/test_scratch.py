"""Folders of tests are in memory only where there is room for them and where programs can be run."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.scratch import LEAST_FREE_BYTES, folder_in_memory

_BLOCK = 4_096


@pytest.mark.parametrize(
    ("free_bytes", "flags", "is_used"),
    [
        (LEAST_FREE_BYTES, 0, True),
        (LEAST_FREE_BYTES - _BLOCK, 0, False),
        (64 << 20, 0, False),
        (LEAST_FREE_BYTES, os.ST_NOEXEC, False),
    ],
    ids=["room", "a_block_too_little", "container", "no_programs"],
)
def test_only_where_there_is_room_and_programs_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_bytes: int, flags: int, is_used: bool
) -> None:
    said = SimpleNamespace(f_bavail=free_bytes // _BLOCK, f_frsize=_BLOCK, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda _folder: said)
    assert folder_in_memory(tmp_path) == (tmp_path if is_used else None)


def test_a_system_without_it_has_its_folders_on_the_disk(tmp_path: Path) -> None:
    assert folder_in_memory(tmp_path / "nowhere") is None
