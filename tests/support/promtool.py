"""Running promtool, where it is to be had."""

from __future__ import annotations

import subprocess

from tests.support.deploy_tools import promtool
from tests.support.services import Unavailable
from tests.support.stack import unavailable


def run_promtool(*arguments: str) -> None:
    try:
        program = promtool()
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
