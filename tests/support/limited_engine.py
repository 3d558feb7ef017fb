"""The embedded ClickHouse with other grants for its user, and row policies: what a server would give to one of ours.

As a program it is the engine's own, with the users of the file that its first argument names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from pipeline.embedded import confined, engine_rights
from pipeline.embedded.child import Child
from pipeline.embedded.clickhouse import EmbeddedClickHouse

_ALL = "<grants><query>GRANT {grants} ON *.*</query></grants>"
assert _ALL in engine_rights._USERS, "the place where its grants are"


class LimitedClickHouse(EmbeddedClickHouse):
    """An engine that is started anew with each other list of grants, on the same data."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder=folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._given = folder / "given.xml"

    def become(
        self, grants: Iterable[str], policies: Mapping[str, str] | None = None, database: str = ""
    ) -> None:
        """Its user may from now on do what `GRANT …` says for each of these, and sees of tables what `policies` say."""
        self.stop()
        rows = "".join(
            f"<{table}><filter>{escape(condition)}</filter></{table}>"
            for table, condition in (policies or {}).items()
        )
        databases = f"<databases><{database}>{rows}</{database}></databases>" if rows else ""
        queries = "".join(f"<query>GRANT {escape(grant)}</query>" for grant in grants)
        self._given.write_text(f"<grants>{queries}</grants>{databases}", encoding="utf-8")
        self.start()

    def start(self) -> None:
        assert urlsplit(self.url).password, "made before the child looks for it"
        self._child = Child(
            "the limited ClickHouse",
            [
                *(sys.executable, "-m", "tests.support.limited_engine", str(self._given)),
                *("--path", str(self._folder / "clickhouse"), "--port", str(self.port)),
                *("--password-file", str(self._folder / "password")),
            ],
            log_file=self._folder / "clickhouse.log",
            with_variables={
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "TMPDIR": str((self._folder / "clickhouse").resolve()),
            },
        )
        self._child.start(self._answers, timeout_s=60)


def main() -> int:
    """Returns the exit code."""
    given = Path(sys.argv.pop(1)).read_text(encoding="utf-8")
    # What is in it is put together with `format` there.
    engine_rights._USERS = engine_rights._USERS.replace(_ALL, given.replace("{", "{{").replace("}", "}}"))
    return confined.main()


if __name__ == "__main__":
    sys.exit(main())
