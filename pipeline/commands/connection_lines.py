"""How people's own tools reach the ClickHouse of `up`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def connection_lines(url: str, database: str, url_file: Path) -> str:
    """A line for each tool, under a heading. The password is not said again: it is in `url`, printed above them, and,
    with the database, in `url_file`.

    Grafana's plugin asks by clickhouse-go, which reads results as of its own protocol version: chDB writes none. So
    nothing listens for the native protocol either: chDB is a library without ClickHouse's TCP server, and packets of
    that protocol hold blocks of the client's version.
    """
    parts = urlsplit(url)
    return (
        f"Connect      as {parts.username}, with the password of that address\n"
        f"  Python     clickhouse_connect.get_client(dsn=open({str(url_file)!r}).read().strip())\n"
        f"  DBeaver    jdbc:clickhouse://{parts.hostname}:{parts.port}/{database}\n"
        f"  Metabase   ClickHouse, host {parts.hostname}, port {parts.port}, database {database}\n"
        "  Grafana    not the embedded ClickHouse, which its plugin cannot read, but that of `docker compose up`"
    )
