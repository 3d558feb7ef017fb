"""The commands of deploy/runbook.md, word for word, as somebody types them who has it open."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.settings import PREFIX
from tests.support.kafka_tools import write_scripts
from tests.support.stack import Stack, environment

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "deploy" / "runbook.md"
_TIMEOUT_S = 120


def sections() -> dict[str, str]:
    """Each heading of the second level with what is below it."""
    parts = re.split(r"^## (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(heading: str) -> list[str]:
    """What is to be typed under a heading."""
    return re.findall(r"```sh\n(.*?)```", sections()[heading], re.DOTALL)


class Terminal:
    """A shell that keeps what is exported, with the program, Kafka's tools and `docker compose` for a stack."""

    def __init__(self, stack: Stack, **variables: str) -> None:
        """`variables` are set before the first command."""
        self._stack = stack
        self._bin = stack.folder / "bin"
        self._kept = stack.folder / "variables.sh"
        self._bin.mkdir(exist_ok=True)
        program = self._bin / "session-pipeline"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pipeline "$@"\n')
        program.chmod(0o755)
        self._kept.write_text("".join(f"export {name}='{value}'\n" for name, value in variables.items()))

    def install_kafka_tools(self) -> None:
        """Unavailable where they are not to be had."""
        write_scripts(self._bin)

    def type(self, block: str) -> str:
        """Run a block; what it prints. Every command must succeed."""
        printed = []
        for line in _commands(block):
            if line.startswith("docker compose "):
                self._compose(line.partition("#")[0].split()[2:])
            else:
                printed.append(self._run(line))
        return "".join(printed)

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f". {self._kept}\n{command}\nexport -p > {self._kept}"],
            env={**environment(self._stack.settings), "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"},
            cwd=self._stack.folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        exported = re.findall(rf'^declare -x ({PREFIX}\w+)="(.*)"$', self._kept.read_text(), re.MULTILINE)
        # For workers too, as an operator puts it into their settings.
        self._stack.settings |= {
            name: text for name, text in exported if name not in self._stack.worker_settings
        }
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self._stack.log_tails()}"
        return done.stdout

    def _compose(self, arguments: list[str]) -> None:
        action, *roles = [each for each in arguments if not each.startswith("-")]
        stack = self._stack
        if action == "stop":
            for name in [name for name in stack.workers if not roles or name.rpartition("-")[0] in roles]:
                stack.stop_worker(name)
            return
        assert action in ("up", "start"), action
        running = {name.rpartition("-")[0] for name in stack.workers}
        wanted = [role for role in roles or ("router", "sessionizer", "sink") if role not in running]
        stack.start_workers(*wanted)


def _commands(block: str) -> Iterator[str]:
    """Its lines, those that go on in one."""
    command = ""
    for line in block.splitlines():
        command += f"{line}\n"
        if not line.endswith(("\\", "|")) and command.count('"') % 2 == 0:
            if command.strip():
                yield command.strip()
            command = ""
    assert not command.strip(), command
