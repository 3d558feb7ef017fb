"""Running promtool, where it is to be had."""

from __future__ import annotations

import os
import subprocess

from tests.support.deploy_tools import promtool
from tests.support.services import Unavailable
from tests.support.stack import unavailable

_SHORT_LIVED = {"GOGC": "800", "GOMAXPROCS": "1"}
"""It ends in seconds: to look for garbage as a server does takes a quarter of its time."""


def run_promtool(*arguments: str) -> None:
    try:
        program = promtool()
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    done = subprocess.run(
        [str(program), *arguments],
        env={**os.environ, **_SHORT_LIVED},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
