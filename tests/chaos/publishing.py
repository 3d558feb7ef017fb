"""`python -m tests.chaos.publishing`: policies are published while sinks are of a version that knows nothing of them.

From the last commit without published policies to this version, all but the sinks; then `policies publish`, sinks of
this version, another version of policies, old sinks again; and the way back of the runbook, under load all the time.
In each passage a worker of the role is killed. Afterwards every row is compared with the fold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from pipeline import topics
from pipeline.domain.policy import Policy
from tests.chaos.occasion import IDLE_S, Occasion, arguments, play
from tests.chaos.older import commit_without, older_program
from tests.chaos.verify import Verdict, judge, read
from tests.support.stack import ROOT, Stack, delete

_MODULE = "tests.chaos.publishing"
_FROM = "2026-01-01"
"""Before every event that is sent, so that all of them count under what is published."""
_ENDS_WITHIN_S = 120.0
_STORED = "SELECT count() FROM session_rows WHERE policy_version = {version:UInt32}"


def main() -> int:
    parser = arguments(_MODULE, __doc__, seconds=180)
    parser.add_argument(
        "--older", type=Path, help="a checkout without published policies, with a .venv; else made"
    )
    given = parser.parse_args(namespace=argparse.Namespace(module=_MODULE))
    with ExitStack() as until:
        older = given.older
        if older is None:
            folder = until.enter_context(tempfile.TemporaryDirectory(prefix="session-pipeline-older-"))
            commit = commit_without("pipeline/commands/policies.py")
            older = until.enter_context(older_program(commit, Path(folder)))

        def prepare(stack: Stack) -> None:
            stack.home = stack.worker_home = older

        def about() -> tuple[str, str, str]:
            return (
                "publishing",
                "Policies are published while sinks are old, and taken back",
                "Router and sessionizers are replaced by this version, and policies are published though the sinks are "
                "old: each partition has a dead letter, and sessions have their version all the same. Then sinks of "
                "this version, another version of policies, old sinks again, and an old sessionizer, which ends and "
                "says why. Last the runbook's way back: the changelog is deleted, and the old version makes it anew.",
            )

        return play(given, lambda it: _publish_and_go_back(it, older), prepare, about)


def _publish_and_go_back(it: Occasion, older: Path) -> tuple[Verdict, dict[str, int]]:
    stack = it.stack
    stack.start_workers("router", "sessionizer", "sessionizer", "sink", "sink")
    it.load.begin(it.seconds)
    it.go_on(3)
    stack.home = ROOT
    stack.run("migrate")
    for role in ("router", "sessionizer"):
        _replace(it, role, ROOT, "new")
    _publish(it, 1)
    _replace(it, "sink", ROOT, "new")
    _publish(it, 2)
    _replace(it, "sink", older, "old")
    stack.poll(_STORED.replace("{version:UInt32}", "2"), bool, timeout_s=_ENDS_WITHIN_S)
    _ends_by_name(it)
    refused = stack.value("SELECT uniqExact(partition) FROM dead_letters WHERE reason != 'wrong_partition'")
    _go_back(it, older)
    it.come_to_rest()
    found = read(stack)
    verdict = judge(
        *(it.load.sent, it.load.events, found, Policy(idle_timeout_ms=IDLE_S * 1_000), it.load.misplaced),
        again=it.load.again,
        refused=found.dead_letters - found.wrong_partitions,
    )
    stack.run("status")
    verdict.require(
        stack.run("rebuild", "--dry-run").startswith("no difference"), "rebuild finds differences"
    )
    verdict.require(
        refused == int(stack.settings["PIPELINE_PARTITIONS"]), f"{refused} partitions have a dead letter"
    )
    return verdict, {"refused_by_old_sinks": found.dead_letters - found.wrong_partitions}


def _publish(it: Occasion, version: int) -> None:
    """The policies that are at work, as a version."""
    own = dict(it.stack.settings)
    it.stack.settings["PIPELINE_POLICY_VERSION"] = str(version)
    try:
        it.stack.run("policies", "publish", "--from", _FROM)
    finally:
        it.stack.settings = own
    it.say(f"version {version} is published")
    it.go_on(3)
    it.stack.poll(_STORED.replace("{version:UInt32}", str(version)), bool, timeout_s=_ENDS_WITHIN_S)
    it.say(f"sessions have version {version}")


def _replace(it: Occasion, role: str, home: Path, called: str) -> None:
    """Every worker of a role by one of this checkout, one after the other; one is killed meanwhile."""
    stack = it.stack
    stack.worker_home = home
    for number, name in enumerate([name for name in stack.workers if name.rpartition("-")[0] == role]):
        stack.begin_worker(role)
        it.settle()
        it.go_on()
        if not number:
            it.kill(role)
            it.settle()
        if name in stack.workers:
            stack.stop_worker(name)
        it.go_on()
    it.say(f"every {role} is {called}")


def _ends_by_name(it: Occasion) -> None:
    """An old sessionizer that takes over what knows of published policies. The worker home is the old one."""
    stack = it.stack
    name = stack.begin_worker("sessionizer")
    assert stack.workers[name].wait(_ENDS_WITHIN_S) == 1, stack.log_tails()
    stack.take(name)
    said = stack.log_file(name).read_text()
    assert "a newer program wrote it" in said, said
    it.say("an old sessionizer ends: a newer program wrote what it would take over")
    it.go_on()


def _go_back(it: Occasion, older: Path) -> None:
    """As the runbook has it; routers and sinks go on."""
    stack = it.stack
    for name in [name for name in stack.workers if name.startswith("sessionizer")]:
        stack.stop_worker(name)
    asyncio.run(delete(stack, topics.STATE))
    it.go_on(2)  # until the broker has forgotten it
    stack.home = older
    stack.run("migrate")
    it.load.keep_up()
    stack.run("rebuild", "--states")
    it.say("the changelog is deleted, and made anew by the old version")
    stack.start_workers("sessionizer", "sessionizer")
    _replace(it, "router", older, "old")


if __name__ == "__main__":
    sys.exit(main())
