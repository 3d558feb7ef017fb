"""`python -m tests.chaos.upgrade`: from an earlier version to this one and back, a worker at a time, under load.

As the runbook has it: `migrate` of this version, then another worker for each before its predecessor is stopped; the
same way back, and once more to this version. In each passage a worker of every role is killed while both versions are
at work. Afterwards every row is compared with the fold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from pipeline import __version__
from pipeline.domain.policy import Policy
from tests.chaos.occasion import IDLE_S, ROLES, Occasion, arguments, play
from tests.chaos.older import last_commit_of, older_program, version_of
from tests.chaos.verify import Verdict, judge, read
from tests.support.stack import ROOT, Stack

_MODULE = "tests.chaos.upgrade"


def main() -> int:
    parser = arguments(_MODULE, __doc__, seconds=180)
    parser.add_argument("--version", default="0.5.0", help="from which, and back to which")
    parser.add_argument(
        "--older", type=Path, help="a checkout of it with a .venv; made, and removed at the end"
    )
    given = parser.parse_args(namespace=argparse.Namespace(module=_MODULE))
    with ExitStack() as until:
        older = given.older
        if older is None:
            folder = until.enter_context(tempfile.TemporaryDirectory(prefix="session-pipeline-older-"))
            older = until.enter_context(older_program(last_commit_of(given.version), Path(folder)))
        before = version_of(older)

        def prepare(stack: Stack) -> None:
            stack.home = stack.worker_home = older

        def about() -> tuple[str, str, str]:
            return (
                "upgrade",
                f"From {before} to {__version__} and back",
                f"Workers of {before} run, one or two a role. `migrate` of {__version__} runs under load; then each "
                "worker is replaced by one of the other version, which comes before its predecessor is stopped: to "
                f"{__version__}, back to {before}, and to {__version__} again. While both are at work, a worker of "
                "every role is killed.",
            )

        return play(given, lambda it: _there_and_back(it, older, before), prepare, about)


def _there_and_back(it: Occasion, older: Path, before: str) -> tuple[Verdict, dict[str, int]]:
    stack = it.stack
    stack.start_workers("router", "sessionizer", "sessionizer", "sink", "sink")
    it.load.begin(it.seconds)
    it.say(f"workers of {before} are at work")
    it.go_on(3)
    stack.home = ROOT
    stack.run("migrate")
    it.say(f"migrate of {__version__} is done")
    for home, version in ((ROOT, __version__), (older, before), (ROOT, __version__)):
        _replace_all(it, home, version)
    it.come_to_rest()
    found = read(stack)
    policy = Policy(idle_timeout_ms=IDLE_S * 1_000)
    verdict = judge(it.load.sent, it.load.events, found, policy, it.load.misplaced, it.load.again)
    stack.run("status")
    verdict.require(
        stack.run("rebuild", "--dry-run").startswith("no difference"), "rebuild finds differences"
    )
    return verdict, {"replaced": 15}


def _replace_all(it: Occasion, home: Path, version: str) -> None:
    """Every worker by one of this checkout, one after the other."""
    stack = it.stack
    leaving = {role: [name for name in stack.workers if name.rpartition("-")[0] == role] for role in ROLES}
    stack.worker_home = home
    for role, names in leaving.items():
        for number, name in enumerate(names):
            stack.begin_worker(role)
            it.settle()
            it.go_on()
            if not number:
                it.kill(role)
                it.settle()
                it.go_on()
            if name in stack.workers:
                stack.stop_worker(name)
            it.go_on()
        it.say(f"every {role} is {version}")


if __name__ == "__main__":
    sys.exit(main())
