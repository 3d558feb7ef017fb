"""The compiled core: its sources in good order, its versions those that Python asks for."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
import zlib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipeline import compiled
from tests.support.cores import core_or_skip
from tests.support.stack import unavailable

ROOT = Path(__file__).parents[2]
CRATE = ROOT / "pipeline" / "core"
MAX_LINES = 400


def table(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "command",
    [
        ("fmt", "--check"),
        pytest.param(("clippy", "--release", "--locked", "--", "-D", "warnings"), marks=pytest.mark.slow),
    ],
    ids=["format", "lint"],
)
def test_style(command: tuple[str, ...]) -> None:
    if shutil.which("cargo") is None:
        unavailable("there is no Rust here")
    done = subprocess.run(
        ["cargo", *command], cwd=CRATE, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_stay_small() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines, at most {MAX_LINES}"
        for path in sorted((CRATE / "src").rglob("*.rs"))
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    ]
    assert not long, "\n".join(long)


def test_each_module_follows_one_in_python() -> None:
    """So whoever changes a rule finds its other half."""
    own = {"lib.rs", "mod.rs", "unsure.rs", "poison.rs", "formats/json.rs", "state/msgpack.rs"}
    # What Python has in another file, and what it has no use for.
    own |= {"state/strings.rs", "state/fetching.rs", "domain/event_id.rs"}
    # What ClickHouse's client and aiokafka do for Python.
    own |= {"storage/native_columns.rs", "storage/event_block.rs", "kafka/batch.rs"}
    lone = []
    for path in sorted((CRATE / "src").rglob("*.rs")):
        relative = path.relative_to(CRATE / "src")
        if relative.as_posix() in own or path.name in own:
            continue
        if not (ROOT / "pipeline" / relative).with_suffix(".py").is_file():
            lone.append(str(relative))
    assert not lone, lone


def test_the_versions_are_one() -> None:
    crate, project = table(CRATE / "Cargo.toml"), table(CRATE / "pyproject.toml")
    version = crate["package"]["version"]  # type: ignore[index]
    assert version == project["project"]["version"]  # type: ignore[index]
    [wanted] = table(ROOT / "pyproject.toml")["project"]["optional-dependencies"]["fast"]  # type: ignore[index]
    assert Requirement(wanted).specifier.contains(version)


def test_the_core_that_is_installed_is_of_these_sources() -> None:
    """Otherwise every test that compares it says something of another one: `pip install ./pipeline/core`."""
    found = 0
    for path in sorted((CRATE / "src").rglob("*.rs")):
        found = zlib.crc32(path.read_bytes(), found)
    assert f"{found:08x}" == core_or_skip().SOURCES


def test_the_interface_is_the_one_that_python_calls() -> None:
    assert core_or_skip().INTERFACE == compiled.INTERFACE
