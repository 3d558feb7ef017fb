"""The command: `python -m tests.fuzz --decoder NAME --inputs N [--seed S] [--seconds T]`.

And `python -m tests.fuzz --worst-cases --bytes N [--seed S] [--broker kafka|embedded]`: legal input at every limit,
through real workers with 1 GiB of address space each; exit 1 if one died or a row is not right.

The last line is one JSON object; exit 1 if anything escaped or an input at the size limit took too long. Inputs
that did are saved as files; `--replay FILE…` runs them again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

from pipeline.runtime import fit_garbage_collection
from tests.fuzz import worst
from tests.fuzz.campaign import Campaign, best_ms, run_atheris, run_mutator, save, slowest_in_peace
from tests.fuzz.decoders import DECODERS
from tests.fuzz.decoders import target as made

_SHOWN_BYTES = 2_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--decoder", choices=DECODERS)
    parser.add_argument(
        "--worst-cases", action="store_true", help="legal input at every limit, to real workers"
    )
    parser.add_argument("--bytes", type=int, default=20_000_000, help="of input, for the worst cases")
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--check-every", type=int, default=1, metavar="N", help="decode all, but check one in N: a longer run"
    )
    parser.add_argument("--seconds", type=float, help="stop after so long, even with fewer inputs")
    parser.add_argument(
        "--engine",
        choices=("auto", "atheris", "mutator"),
        default="auto",
        help="atheris: guided by coverage; mutator: guided by outcomes, the same seed makes the same inputs",
    )
    parser.add_argument(
        "--save", type=Path, default=Path("fuzz-escapes"), help="folder for inputs that escaped"
    )
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run saved inputs instead")
    parser.add_argument(
        "--time", type=Path, nargs="+", metavar="FILE", help="print milliseconds for each, best of 3"
    )
    told = parser.parse_args()
    if not told.decoder and not told.worst_cases:
        parser.error("--decoder or --worst-cases")
    return told


def _atheris(engine: str) -> ModuleType | None:
    """Atheris, if it is wanted and can be had."""
    if engine == "mutator":
        return None
    try:
        return importlib.import_module("atheris")
    except ImportError as error:
        if engine == "atheris":
            sys.exit(f"error: {error}; pip install 'session-pipeline[fuzz]' (Linux on x86-64)")
        print(f"atheris cannot be had here ({error}): inputs come from the own mutator, guided by outcomes")
        return None


def main() -> None:
    arguments = _arguments()
    fit_garbage_collection()  # as workers do: an input is judged by the time that it takes there
    if arguments.worst_cases:
        sys.exit(worst.main(arguments.seed, arguments.bytes, arguments.broker))
    # One folder for all that is temporary: libFuzzer's end leaves no chance to close anything.
    scratch = tempfile.tempdir = tempfile.mkdtemp(prefix="fuzz-")
    wanted = None if arguments.time or arguments.replay else _atheris(arguments.engine)
    with wanted.instrument_imports(include=["pipeline"]) if wanted else nullcontext():
        target = made(arguments.decoder)
    if arguments.time:
        for path in arguments.time:
            print(f"{best_ms(target, path.read_bytes()):.3f}")
        shutil.rmtree(scratch, ignore_errors=True)
        return
    campaign = Campaign(target, arguments.seed, max(1, arguments.check_every))

    def finish() -> None:
        status = _report(campaign, arguments)
        shutil.rmtree(scratch, ignore_errors=True)
        sys.stdout.flush()
        os._exit(status)  # libFuzzer has no way back

    if arguments.replay:
        for path in arguments.replay:
            campaign.feed(path.read_bytes())
    elif wanted:
        run_atheris(wanted, campaign, arguments.inputs, arguments.seconds, finish)
    else:
        run_mutator(campaign, arguments.inputs, arguments.seconds)
    finish()


def _report(campaign: Campaign, arguments: argparse.Namespace) -> int:
    seconds = campaign.seconds
    for escape in campaign.escapes.values():
        [path] = save([escape.data], arguments.save, arguments.decoder)
        print(f"ESCAPE {escape.what}\n  at {escape.where}, saved as {path}\n  {escape.data[:_SHOWN_BYTES]!r}")
    slowest_ms, slowest = slowest_in_peace(campaign, arguments.decoder)
    limit_ms = campaign.target.limit_ms
    too_slow = limit_ms is not None and slowest_ms > limit_ms
    if too_slow:
        [path] = save([slowest], arguments.save, arguments.decoder)
        print(f"TOO SLOW {slowest_ms:.1f} ms for {len(slowest)} bytes, saved as {path}\n  {slowest[:300]!r}")
    summary = {
        "decoder": arguments.decoder,
        "inputs": campaign.inputs,
        "checked": campaign.checked,
        "escapes": len(campaign.escapes) + too_slow,
        "slowest_ms": round(slowest_ms, 3),
        "accepted": campaign.accepted,
        "refused": campaign.refused,
        "seconds": round(seconds, 1),
    }
    print(json.dumps(summary))
    return 1 if summary["escapes"] or not campaign.inputs else 0


if __name__ == "__main__":
    main()
