"""The program of an earlier version: its last commit in a worktree, with a virtual environment of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stack import ROOT

_FILE = "pipeline/__init__.py"


def last_commit_of(version: str) -> str:
    """The last commit whose program says that it is this version. Raises `LookupError`."""
    changed = _git("log", "--format=%H", "--first-parent", f"-S{version}", "--", _FILE).split()
    # Where one puts another version in its place, the one before it was the last.
    for commit in ("HEAD", *(f"{commit}^" for commit in changed)):
        if _version_at(commit) == version:
            return _git("rev-parse", commit).strip()
    raise LookupError(f"no commit has version {version} in {_FILE}")


def commit_without(file: str) -> str:
    """The last commit of the main line before a file came."""
    came = _git("log", "--format=%H", "--first-parent", "-m", "--diff-filter=A", "--", file).split()
    return _git("rev-parse", f"{came[-1]}^").strip()


@contextmanager
def older_program(commit: str, folder: Path) -> Iterator[Path]:
    """Installs it with its extra `local`, which takes a minute or two; gives its checkout. Removed at the end."""
    home = folder / "older"
    _git("worktree", "add", "--detach", str(home), commit)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(home / ".venv")], check=True)
        pip = [str(home / ".venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--editable"]
        subprocess.run([*pip, f"{home}[local]"], check=True)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
        _git("worktree", "prune")


def version_of(home: Path) -> str:
    """Of the program of a checkout."""
    return _said((home / _FILE).read_text(encoding="utf-8"))


def _version_at(commit: str) -> str:
    return _said(_git("show", f"{commit}:{_FILE}"))


def _said(text: str) -> str:
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return found[1] if found else ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout
