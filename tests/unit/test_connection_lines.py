"""What `up` says of how to connect."""

from __future__ import annotations

from pathlib import Path

from pipeline.commands.connection_lines import connection_lines


def test_a_line_for_each_tool_without_the_password() -> None:
    said = connection_lines(
        "http://default:s3cret@127.0.0.1:8123", "app_sessions", Path("/it's/clickhouse-url")
    )
    head, *lines = said.splitlines()
    assert head == "Connect      as default, with the password of that address"
    tools = dict(line.split(maxsplit=1) for line in lines)
    assert list(tools) == ["Python", "DBeaver", "Metabase", "Grafana"]
    assert tools["DBeaver"] == "jdbc:clickhouse://127.0.0.1:8123/app_sessions"
    compile(tools["Python"], "said", "eval")
    assert "s3cret" not in said
