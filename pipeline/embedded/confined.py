"""The program of the embedded ClickHouse: shut itself in, then serve.

The engine runs as a part of this process and takes itself for a local program of its user: `SELECT file('…')`, a
DEFAULT in the structure of a table function, a format's schema and settings read and write whatever this process may.
Grants (`engine_rights`) refuse most of that, but not all. So on Linux the kernel refuses the rest (Landlock): this
process reaches its data folder, reads Python, and connects to nobody. It has to ask for this before it has threads,
hence before it imports the engine.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import mimetypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import pipeline
from pipeline.errors import Terminal

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38
_FIRST_USABLE = 2
"""Before this version of Landlock no file can be moved between folders, which the engine does all the time."""
_EXECUTE, _WRITE, _READ, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_CONNECT_TCP = 1 << 1
_READ_ALL = _READ | _READ_DIR
# What the engine asks about the machine, and Python about itself. Not all of /proc: other processes have secrets.
_READABLE = (
    *("/usr", "/lib", "/lib64", "/sys/fs/cgroup", "/sys/devices/system", "/proc/self", "/proc/meminfo"),
    *("/proc/stat", "/proc/cpuinfo", "/proc/loadavg", "/proc/uptime", "/proc/version", "/proc/sys/vm"),
    *("/etc/localtime", "/etc/timezone", "/etc/ld.so.cache", "/dev/urandom", "/dev/random"),
    # A module of Python reads them when it is imported, and falls over those that are there and cannot be read.
    *mimetypes.knownfiles,
)


class NotConfined(Terminal):
    """The kernel cannot shut this process in; says why."""


def confine(folder: Path) -> None:
    """From now on this process writes in `folder` alone, reads little else, and opens no TCP connection (version 4).

    For good, and for its children. To be called before there are threads: others would go on unbound. NotConfined.
    """
    if sys.platform != "linux":
        raise NotConfined("only Linux can")
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < _FIRST_USABLE:
        raise NotConfined(f"Landlock is not in this kernel, or too old: {version}")
    handled = (1 << {2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    connects = _CONNECT_TCP if version >= 4 else 0
    attributes = struct.pack("QQ" if version >= 4 else "Q", handled, *([connects] if version >= 4 else []))
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        _allow(libc, rules, folder, handled & ~_EXECUTE)
        for path in (*_READABLE, *_python_folders()):
            _allow(libc, rules, Path(path), _READ_ALL & handled)
        _allow(libc, rules, Path("/dev/null"), (_READ | _WRITE | _TRUNCATE) & handled)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _python_folders() -> Iterable[str]:
    """Where modules are still to be imported from. Not all of `sys.path`: the present folder may be somebody's home."""
    known = sysconfig.get_paths()
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    # An environment's own modules and those of the Python that it was made from.
    return {
        *(known[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *installed,
        *pipeline.__path__,
        sysconfig.get_config_var("LIBDIR") or sys.base_prefix,
    }


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there cannot be read
        return
    try:
        if not path.is_dir():
            rights &= _EXECUTE | _WRITE | _READ | _TRUNCATE
        rule = struct.pack("=Qi", rights, place)
        _checked(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
    finally:
        os.close(place)


def _checked(result: int) -> int:
    if result < 0:
        raise NotConfined(os.strerror(ctypes.get_errno()))
    return result


def main() -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description="The ClickHouse engine behind ClickHouse's HTTP interface")
    parser.add_argument("--path", type=Path, required=True, help="data folder; made if it is not there")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--password-file", type=Path, required=True, help="has what clients have to know")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    log = logging.getLogger("clickhouse_http")
    try:
        os.umask(0o077)
        password = arguments.password_file.read_text(encoding="ascii").strip()
        arguments.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.error("%s", error)
        return 1
    try:
        confine(arguments.path)
    except NotConfined as reason:
        log.warning("queries of those who know the password may reach files of this user: %s", reason)
    from pipeline.embedded.clickhouse_http import run  # noqa: PLC0415 - it has threads: only after `confine`

    return run(arguments.path, arguments.port, password)


if __name__ == "__main__":
    sys.exit(main())
