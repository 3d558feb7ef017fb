"""The embedded engine as a server that may make backups, which the program's own never may.

Run as a program, this is the server's process.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from pathlib import Path

from pipeline.embedded import engine, engine_rights
from pipeline.embedded.child import Child
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.clickhouse_http import run
from pipeline.embedded.secret import own_folder, password_in

_START_S = 60.0


class ClickHouseWithBackups(EmbeddedClickHouse):
    """Its disk `backups` is a folder beside its data. Blocks as its base does."""

    def start(self) -> None:
        own_folder(self._folder)
        assert self._password, "made before the child looks for it"
        self._child = Child(
            "a ClickHouse with backups",
            [sys.executable, "-m", "tests.support.backups", str(self._folder), str(self.port)],
            log_file=self._folder / "clickhouse.log",
        )
        self._child.start(self._answers, timeout_s=_START_S)


def _write_configuration(folder: Path) -> Path:
    """As the embedded engine's own, with deploy/clickhouse-backups.xml and all rights."""
    disk = (folder.parent / "backups").resolve()
    disk.mkdir(exist_ok=True)
    (folder / "metadata").mkdir(exist_ok=True)
    users = re.sub(r"<grants>.*</grants>", "", engine_rights._USERS).format(fixed="")
    (folder / "users.xml").write_text(users, encoding="utf-8")
    (folder / "metadata" / "default.sql").write_text(engine_rights._DEFAULT_DATABASE, encoding="utf-8")
    config = (Path(__file__).parents[2] / "deploy" / "clickhouse-backups.xml").read_text(encoding="utf-8")
    own = config.replace("/var/lib/clickhouse-backups/", f"{disk}/")
    assert own != config, "the folder of the example is another one now"
    own = own.replace("</clickhouse>", "<users_config>users.xml</users_config></clickhouse>")
    (folder / "config.xml").write_text(own, encoding="utf-8")
    return folder / "config.xml"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    engine.write_configuration = _write_configuration
    return run(given.folder / "clickhouse", given.port, password_in(given.folder / "password"))


if __name__ == "__main__":
    sys.exit(main())
