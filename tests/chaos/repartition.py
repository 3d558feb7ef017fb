"""`python -m tests.chaos.repartition`: all topics get more partitions under load, and what is at work dies meanwhile.

As the runbook has it, but that a worker of each role is killed while the command waits for them, the command itself is
killed at several of its steps and given once more, and workers are killed again as they go on. Then every row is
compared with the fold.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys

from pipeline import topics
from pipeline.domain.policy import Policy
from pipeline.kafka.admin import committed_offsets
from pipeline.roles.topology import group_of
from tests.chaos.occasion import IDLE_S, ROLES, Occasion, arguments, play
from tests.chaos.verify import Verdict, judge, read
from tests.support.stack import Stack, environment

_MODULE = "tests.chaos.repartition"
_WAIT_S = 300
_KILLED_AT = ("2 of 4", "3 of 4: partition 0", "3 of 4: partition 2", "4 of 4")
"""Beginnings of lines of the command, right after which it is killed, one after the other."""
_PROGRAM = """
import os, signal, sys
from pipeline.commands import repartition
say = repartition._say
def killing(line):
    say(line)
    if sys.argv[1] and line.startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
repartition._say = killing
repartition.repartition(int(sys.argv[2]), float(sys.argv[3]))
"""


def main() -> int:
    parser = arguments(_MODULE, __doc__, seconds=120)
    parser.add_argument("--to", type=int, default=7, help="how many partitions there are afterwards")
    given = parser.parse_args(namespace=argparse.Namespace(module=_MODULE))

    def about() -> tuple[str, str, str]:
        return (
            "repartition",
            f"From {given.partitions} to {given.to} partitions",
            "`session-pipeline repartition` while producers go on. A worker of each role is killed while it waits for "
            "them to be stopped, and as they go on afterwards; the command itself is killed at four of its steps, and "
            "given once more.",
        )

    return play(given, lambda it: _repartition(it, given.to), lambda stack: None, about)


def _repartition(it: Occasion, to: int) -> tuple[Verdict, dict[str, int]]:
    stack = it.stack
    everybody = ("router", "sessionizer", "sessionizer", "sink", "sink")
    stack.start_workers(*everybody)
    it.load.begin(it.seconds)
    it.go_on(3)
    first = _begin(stack, _KILLED_AT[0], to)
    for role in ROLES:
        it.kill(role)
        it.go_on(2)
    it.settle()
    assert first.stdout is not None
    assert any("waiting for all workers to be stopped" in line for line in first.stdout), "it waits for them"
    stack.stop()
    it.say("all workers are stopped, while producers go on")
    said = _died(it, first, _KILLED_AT[0])
    for at in _KILLED_AT[1:]:
        it.load.keep_up()
        again = _begin(stack, at, to)
        said, _ = again.communicate(timeout=_WAIT_S)
        if again.returncode == 0:
            break  # there was no such line any more
        assert again.returncode == -9, said
        it.say(f"repartition is killed at '{at}', and given again")
    it.load.keep_up()
    said = stack.run("repartition", "--partitions", str(to), "--timeout", str(_WAIT_S))
    it.say("repartition is done")
    reached = asyncio.run(committed_offsets(stack.connection, group_of("sink"), [topics.SDK_EVENTS]))
    stack.settings |= dict(re.findall(r"^  (PIPELINE_\w+)=(\S+)$", said, re.MULTILINE))
    assert stack.settings["PIPELINE_PARTITIONS"] == str(to), said
    stack.start_workers(*everybody)
    for role in ROLES:
        it.go_on(2)
        it.kill(role)
    it.come_to_rest()
    found = read(stack)
    base = int(stack.settings["PIPELINE_OFFSET_BASE"])
    found.raised = base, {tp.partition: offset or 0 for tp, offset in reached.items()}
    policy = Policy(idle_timeout_ms=IDLE_S * 1_000)
    verdict = judge(it.load.sent, it.load.events, found, policy, it.load.misplaced, it.load.again)
    stack.run("status")
    verdict.require(
        stack.run("rebuild", "--dry-run").startswith("no difference"), "rebuild finds differences"
    )
    verdict.require(len({row["partition"] for row in found.ledger}) == to, "rows of every partition")
    return verdict, {"partitions": to}


def _begin(stack: Stack, killed_at: str, to: int) -> subprocess.Popen[str]:
    """`repartition`, which kills itself with -9 right after it has said a line that begins so."""
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, killed_at, str(to), str(_WAIT_S)],
        env=environment(stack.settings),
        cwd=stack.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _died(it: Occasion, command: subprocess.Popen[str], at: str) -> str:
    said, _ = command.communicate(timeout=_WAIT_S)
    assert command.returncode == -9, said
    it.say(f"repartition is killed at '{at}', and given again")
    return said


if __name__ == "__main__":
    sys.exit(main())
