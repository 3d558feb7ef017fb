"""`python -m tests.mutation --module pipeline/state/store.py`: which small faults no fast test finds.

A process is forked for each fault and runs the tests of the module, with few examples, until the first one fails; what
survives runs them again with as many as in CI. Prints survivors, ends with one JSON object. A campaign takes minutes to
hours on one core, so it is no part of CI.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.plugin import Draws, Swap, name_of, users_of

ROOT = Path(__file__).parents[2]
MEMORY_BYTES = 4 << 30
"""Of a fault that never ends and collects."""

_FOLD = ("tests/unit/test_policy.py", "tests/unit/test_fold_examples.py", "tests/property/test_fold.py")
_STATE = (
    *("tests/unit/test_outbox.py", "tests/unit/test_deadlines.py", "tests/unit/test_device.py"),
    *("tests/unit/test_partition.py", "tests/unit/test_store.py", "tests/unit/test_state_codec.py"),
    *("tests/unit/test_tail.py", "tests/unit/test_topics_known.py", "tests/unit/test_state_bounds.py"),
    *("tests/unit/test_effects.py", "tests/unit/test_owners.py", "tests/unit/test_rebuild.py"),
    *("tests/unit/test_alike_ids.py", "tests/unit/test_heavy_devices.py"),
)
_SIMULATED = (
    "tests/simulation/test_simulation.py::test_all_seeds_of_the_budget_pass",
    "tests/simulation/test_simulation.py::test_what_was_found_once",
)
_ANY_DELIVERY = "tests/property/test_streaming.py"
_EFFECTS = (
    *("tests/unit/test_chunk.py", "tests/unit/test_fence.py", "tests/unit/test_sink.py"),
    *("tests/unit/test_recovery.py", "tests/unit/test_transport.py", "tests/unit/test_clickhouse.py"),
    *("tests/unit/test_membership.py", "tests/unit/test_topics_known.py", "tests/unit/test_made_bytes.py"),
    *("tests/unit/test_owners.py", "tests/unit/test_take_over.py", "tests/unit/test_sink_memory.py"),
)
TESTS = {
    "pipeline/domain": (*_FOLD, "tests/golden", *_SIMULATED, _ANY_DELIVERY),
    "pipeline/state": (*_STATE, *_SIMULATED, _ANY_DELIVERY),
    "pipeline/formats": ("tests/unit/test_native.py", "tests/golden", "tests/property/test_decoders.py", *_SIMULATED,
                         _ANY_DELIVERY),
    "pipeline/storage": ("tests/unit/test_rows.py", "tests/golden", *_SIMULATED),
    "pipeline/roles": ("tests/unit/test_sink.py", "tests/unit/test_made_bytes.py", *_EFFECTS, *_SIMULATED),
    "pipeline/kafka": (*_EFFECTS, *_SIMULATED),
    "pipeline/clickhouse": (*_EFFECTS, *_SIMULATED),
    "pipeline/streaming": (*_EFFECTS, *_SIMULATED),
}  # fmt: skip
"""Folder of a module to the fast tests that hold it, the quickest first."""


def tests_of(module: str) -> list[str]:
    """The tests of a module."""
    (found,) = (tests for folder, tests in TESTS.items() if module.startswith(folder))
    return list(found)


def survives(module: str, mutant: Mutant | None, tests: list[str], limit_s: float, *, few: bool) -> bool:
    """Whether all tests pass on a mutant (None: on the module as it is), in a process of their own.

    One that needs more than the limit of processor time does not.
    """
    child = os.fork()
    if not child:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        # The machine's own clock would count what others do, and it ends also if nobody waits for it any more.
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s) + 1, int(limit_s) + 1))
        if mutant is not None:
            Swap(module, ROOT / module, mutant.tree).install()
        # Without what takes longer than most of the tests.
        asked = "-x -q --tb=no --assert=plain -p pytest_timeout --timeout=0"
        without = "-p no:cacheprovider -p no:unraisableexception"
        os._exit(pytest.main([*asked.split(), *without.split(), *tests], plugins=[Draws(few=few)]))
    ends_s = time.monotonic() + 10 * limit_s
    while time.monotonic() < ends_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    # It waits for something.
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _load(module: str, tests: list[str]) -> None:
    """Import what the tests do once, rather than for each fault: what does not use the module stays."""
    for test in tests:
        path = Path(test.partition("::")[0])
        if path.suffix:
            importlib.import_module(name_of(str(path)))
    users_of.cache_clear()
    users_of(name_of(module))
    gc.freeze()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", required=True, help="a path; may be given several times")
    parser.add_argument("--lines", help="FIRST-LAST: faults in these lines only")
    parser.add_argument("--tests", nargs="+", help="these instead of the module's own")
    parser.add_argument("--limit-s", type=float, default=30.0, help="processor time for one fault")
    parser.add_argument("--few", action="store_true", help="survivors are not tried again with many examples")
    given = parser.parse_args()
    os.chdir(ROOT)
    os.nice(10)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    started_s = time.monotonic()
    count = survived = 0
    rounds = (True,) if given.few else (True, False)
    for module in given.module:
        tests = given.tests or tests_of(module)
        if not survives(module, None, tests, 10 * given.limit_s, few=True):
            print(f"{module}: its tests do not pass as it is: {' '.join(tests)}", flush=True)
            return 2
        _load(module, tests)
        first, last = map(int, given.lines.split("-")) if given.lines else (0, sys.maxsize)
        for mutant in mutants_of((ROOT / module).read_text()):
            if not first <= mutant.line <= last:
                continue
            count += 1
            if all(survives(module, mutant, tests, given.limit_s, few=few) for few in rounds):
                survived += 1
                print(f"{module}:{mutant.line}: {mutant.change}", flush=True)
    seconds = round(time.monotonic() - started_s)
    print(json.dumps({"mutants": count, "survived": survived, "seconds": seconds}))
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
