"""The commands of schemas/API.md do what it says, against a real port; and what its tables name is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.api.problem import KINDS
from pipeline.commands import symbol_changes
from pipeline.mcp.tools import TOOLS
from pipeline.receive.keys import Keys
from tests.dashboard import alert_rows
from tests.dashboard.serving import serving
from tests.dashboard.stage import Stage
from tests.support.asked_api import APP
from tests.support.symbols import DATA

DOCUMENT = (Path(__file__).parents[2] / "schemas" / "API.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
KEY = "a-key-as-it-is-of-20-characters-or-more"
WRITE_KEY = "a-key-of-the-build-server"


@pytest.fixture(scope="module")
def surroundings(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The variables of the commands, of a dashboard with a password and the keys of the document."""
    keys = tmp_path_factory.mktemp("api") / "keys.toml"
    keys.write_text(
        re.findall(r"^```toml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)[0], encoding="utf-8"
    )
    own = replace(stage.settings, api_keys=str(keys))
    span = {"a": APP, "f": "2026-01-01 00:00:00", "u": "2026-03-01 00:00:00"}
    crash = stage.query(
        "SELECT * FROM crash_events(app_id = {a:String}, from = {f:String}, until = {u:String}) LIMIT 1",
        **span,
    )[0]
    alert_rows.put(stage)
    with pytest.MonkeyPatch.context() as patch, serving(own, stage.store, "correct horse") as address:
        patch.setattr(symbol_changes, "LIST_AGE_S", -1)
        yield {
            "API": f"{address}/api/v1", "KEY": KEY, "WRITE_KEY": WRITE_KEY, "FOLDER": str(keys.parent),
            "SESSION": crash["session_id"], "GROUP": crash["crash_group"],
        }  # fmt: skip


def test_every_command_gives_what_it_is_said_to(surroundings: Mapping[str, str]) -> None:
    assert len(COMMANDS) > 18 and all(command.startswith("curl -s") for command in COMMANDS)
    bash = shutil.which("bash")
    assert bash and shutil.which("curl")
    for command in COMMANDS:
        line, _, status = command.partition(" # ")
        done = subprocess.run(
            [bash, "-c", f"{line} -w '\\n%{{http_code}}'"], env={**surroundings, "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=60, check=False, cwd=DATA,
        )  # fmt: skip
        body, _, code = done.stdout.rpartition("\n")
        assert code == (status or "200"), (command, done.stdout[:300], done.stderr)
        if "/sessions/export" in command:
            written = Path(surroundings["FOLDER"], "crashed.csv").read_text(encoding="utf-8")
            assert written.startswith('"app_id"') and written.count("\n") > 1
            continue
        told = json.loads(body)
        assert told.get("status") == (int(status) if status else told.get("status"))
        # Examples that show nothing teach nothing. Here are no alert rules, no files that lack, and no Kafka.
        if any(path in command for path in ("/alerts", "/symbols/missing", "/pipeline/lag")):
            continue
        for name in ("items", "lines", "lanes"):
            assert told.get(name) != [], command


def test_its_table_of_problems_is_that_of_the_program() -> None:
    found = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", DOCUMENT, re.MULTILINE))
    assert found == {name: str(kind.status) for name, kind in KINDS.items()}


def test_it_names_every_tool() -> None:
    own = DOCUMENT[DOCUMENT.index("## MCP") :]
    assert [name for name in re.findall(r"`(\w+)`", own) if name in {tool.name for tool in TOOLS}] == [
        tool.name for tool in TOOLS
    ]


def test_its_keys_are_ones() -> None:
    example = re.findall(r"^```toml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)[0]
    keys = Keys.read(example, 20, with_access=True)
    read, write = keys.of(KEY), keys.of(WRITE_KEY)
    assert (
        len(tomllib.loads(example)["keys"]) == 3 and read and not read.may_write and write and write.may_write
    )
