"""What a stranger expects of a package: its lists agree, its version is one, its workflow is valid."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft7Validator
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline import __version__
from tests.support.stack import command_line, environment

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE: dict[str, Any] = tomllib.loads((ROOT / "pipeline/core/pyproject.toml").read_text(encoding="utf-8"))
SCHEMA = Path(__file__).parent / "workflow_schema" / "github-workflow.json"
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
PYTHONS = [
    found[1]
    for line in PROJECT["project"]["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
]


@cache
def lock() -> dict[str, Any]:
    """What `uv lock` wrote."""
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


def normal(requirements: list[str]) -> set[str]:
    return {str(Requirement(text)) for text in requirements}


@pytest.mark.parametrize("name", ["test", "fuzz", "bench"])
def test_a_dependency_group_is_its_extra(name: str) -> None:
    """Extras are what a pip before 25.1 can install; groups are what everything else takes."""
    assert PROJECT["dependency-groups"][name] == PROJECT["project"]["optional-dependencies"][name]


def test_the_lock_is_of_these_dependencies() -> None:
    """What `uv lock --check` (in the workflow) says too, as far as it can be known without uv and a network."""
    (ours,) = (package for package in lock()["package"] if package["name"] == PROJECT["project"]["name"])
    extras = PROJECT["project"]["optional-dependencies"]
    asked = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
    asked |= {Requirement(text).name for texts in extras.values() for text in texts}
    told = ours["metadata"]["requires-dist"]
    assert {entry["name"] for entry in told} == asked - {ours["name"]}
    specifiers = {entry["name"]: SpecifierSet(entry.get("specifier", "")) for entry in told}
    locked = {package["name"]: package.get("version") for package in lock()["package"]}
    for text in [*PROJECT["project"]["dependencies"], *(text for texts in extras.values() for text in texts)]:
        wanted = Requirement(text)
        # Of a folder beside it the lock has no versions.
        if wanted.name not in (ours["name"], CORE["project"]["name"]):
            assert specifiers[wanted.name] == wanted.specifier, text
            assert wanted.specifier.contains(locked[wanted.name]), text
    assert lock()["requires-python"] == PROJECT["project"]["requires-python"]
    # The compiled core is a folder of this repository.
    others = [
        each for each in lock()["package"] if each is not ours and each["name"] != CORE["project"]["name"]
    ]
    sources = {package["source"].get("registry") for package in others}
    assert sources == {"https://pypi.org/simple"}, "not a mirror that others cannot reach"


def test_the_version_is_one(tmp_path: Path) -> None:
    said = subprocess.run(
        command_line("--version"),
        env=environment({}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said.stdout == f"session-pipeline {__version__}\n" and not said.stderr
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [title for title in titles if title != "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", title) for title in released)
    assert released[0].split()[0] == __version__
    dates = [title.split()[1] for title in released]
    assert dates == sorted(dates, reverse=True)


def test_the_workflow_is_valid_and_runs_what_a_newcomer_runs() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    # YAML 1.1 takes `on` for true.
    workflow["on"] = workflow.pop(True)
    errors = Draft7Validator(orjson.loads(SCHEMA.read_bytes())).iter_errors(workflow)
    assert not [f"{error.json_path}: {error.message}" for error in errors]
    suite = workflow["jobs"]["suite"]
    assert suite["strategy"]["matrix"]["python"] == PYTHONS != []
    assert [step["run"] for step in suite["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    lowest = PROJECT["project"]["requires-python"]
    assert all(SpecifierSet(lowest).contains(version) for version in PYTHONS) and lowest == f">={PYTHONS[0]}"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"], "a job that hangs costs the six hours that GitHub gives it"
