"""ClickHouse's driver for JDBC, with its defaults, on the embedded engine: what DBeaver and Metabase ask with."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.services import Unavailable, classpath
from tests.support.stack import unavailable

FOLDER = Path(__file__).parents[1] / "jdbc"
_TIMEOUT_S = 120.0

SAID = """
server ClickHouse
row | 1000 | 499500 | sö '999 | 2023-11-14 22:13:20.999 | 62500.0
read
row | 300000 | 44999850000 | 1688890
read
streamed 300000 45001538890
found 7
read
table sizes
column a UInt64
column s String
column t DateTime64(3, 'UTC')
column f Nullable(Float64)
refused 60 true
row | 3
read
"""


@pytest.mark.slow
def test_the_driver_with_its_defaults(clickhouse: EmbeddedClickHouse, database: str) -> None:
    java = shutil.which("java")
    if java is None:
        unavailable("ClickHouse's driver for JDBC needs java 17 or later, which is not installed")
        raise AssertionError
    try:
        jars = classpath(FOLDER / "pom.xml", "ClickHouse's driver for JDBC")
    except Unavailable as error:
        unavailable(str(error))
        raise
    clickhouse.command(f"CREATE DATABASE {database}")
    address = urlsplit(clickhouse.url)
    url = f"jdbc:clickhouse://{address.hostname}:{address.port}/{database}"
    program = [java, "-XX:TieredStopAtLevel=1", "-cp", jars, str(FOLDER / "Drive.java")]
    done = subprocess.run(
        [*program, url, address.username or "", address.password or ""],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().splitlines() == SAID.strip().splitlines()
