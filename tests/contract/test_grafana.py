"""Grafana's dashboards and what it and Prometheus are given: all that they name is there, and is understood."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry

from pipeline.clickhouse.store import Store
from pipeline.receive.metrics import ReceiveMetrics
from pipeline.roles.metrics import Metrics
from pipeline.settings import variables
from tests.support.compose import environment, services
from tests.support.migrated import migrate
from tests.support.promtool import run_promtool

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yaml"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
BOARDS: Mapping[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
PROM, CLICKHOUSE = "prometheus", "grafana-clickhouse-datasource"
OF_ALERTS = {"ALERTS": {"alertname", "alertstate", "severity"}}
ADDED = {"instance", "job", "__name__"}
"""Labels that Prometheus itself adds."""
OF_INFO = {"pipeline_build_info": {"version", "role", "core"}}
HOUR = {
    "__from": "1767225600000",
    "__to": "1767830400000",
    "__interval_ms": "3600000",
    "app:singlequote": "'org.example.shop'",
}


def panels(board: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(kind: str) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """A name that tells them apart, the board, the panel and the question, of all that ask such a source."""
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                if target["datasource"]["type"] == kind:
                    yield f"{name}-{panel['id']}-{target['refId']}", name, panel, target


PROMQL = [(name, panel, target) for name, _, panel, target in targets(PROM)]
SQL = [(name, panel, target) for name, _, panel, target in targets(CLICKHOUSE)]


def series() -> dict[str, set[str]]:
    """Every series that workers and `receive` show, with its labels."""
    found: dict[str, set[str]] = {}
    for registry in (Metrics().registry, ReceiveMetrics().registry):
        found |= _of_registry(registry)
    return found | OF_ALERTS | {name: labels | found[name] for name, labels in OF_INFO.items()}


def _of_registry(registry: CollectorRegistry) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        labels = set(getattr(registry._names_to_collectors.get(family.name), "_labelnames", ()))
        parts = {
            "counter": {"_total": set()},
            "histogram": {"_bucket": {"le"}, "_sum": set(), "_count": set()},
            "info": {"_info": set()},
        }.get(family.type, {"": set()})
        found |= {family.name + part: labels | more for part, more in parts.items()}
    return found


SERIES = series()


def promql(target: Mapping[str, Any]) -> str:
    """As Prometheus is asked, with every variable filled in."""
    text: str = target["expr"]
    for name, value in {"$__rate_interval": "1m", "$instance": ".*", "$role": "sink|router"}.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def test_there_are_boards_and_each_has_a_place_of_its_own() -> None:
    assert set(BOARDS) == {"operators", "sessions"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)
    assert PROMQL and SQL


@pytest.mark.parametrize("name", BOARDS)
def test_panels_are_told_apart_and_do_not_cover_each_other(name: str) -> None:
    board = BOARDS[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels(board):
        assert panel["title"] and panel["description"].endswith((".", ":"))
        assert (panel["targets"] and "unit" in panel["fieldConfig"]["defaults"]) or panel["type"] == "table"
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("name", BOARDS)
def test_every_source_and_variable_that_is_named_is_defined(name: str) -> None:
    board = BOARDS[name]
    defined = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert defined["datasource"]["type"] == "datasource"
    asked = {panel["datasource"]["type"] for panel in panels(board)}
    assert asked == {defined["datasource"]["query"]}
    text = json.dumps(board)
    named = set(re.findall(r"\$\{?([a-z]\w*)", text)) | set(re.findall(r"\$\{?(__\w+)", text))
    given = {"__rate_interval", "__from", "__to", "__interval_ms", "__all"}
    assert named <= defined.keys() | given and defined.keys() <= named
    assert set(re.findall(r'"uid": "([^"]+)"', text)) == {"${datasource}", board["uid"]}


@pytest.mark.parametrize(("panel", "target"), [each[1:] for each in PROMQL], ids=[each[0] for each in PROMQL])
def test_what_a_panel_asks_of_prometheus_is_there(
    panel: Mapping[str, Any], target: Mapping[str, Any]
) -> None:
    text = promql(target)
    named = set(re.findall(r"\b(?:pipeline|process|python)_\w+|\bALERTS\b", text))
    assert named and named <= SERIES.keys()
    labels = set().union(*(SERIES[name] for name in named)) | ADDED
    used = set(re.findall(r"(\w+)=~?\"", text)) | {
        label.strip() for group in re.findall(r"(?:by|on) \(([^)]*)\)", text) for label in group.split(",")
    }
    assert used <= labels
    # What stands in the legend is what was not summed up.
    kept = [set(re.split(r",\s*", group)) for group in re.findall(r"\bby \(([^)]*)\)", text)]
    in_legend = set(re.findall(r"{{\s*(\w+)\s*}}", target.get("legendFormat", "")))
    assert in_legend <= (set().union(*kept) if kept else labels)
    if not kept and re.match(r"\(?(?:1 - )?(?:sum|min|max|count)\(", text):
        assert not in_legend, "of one line there is nothing to tell apart"


@pytest.mark.parametrize("name", BOARDS)
def test_what_texts_and_variables_name_is_there(name: str) -> None:
    board = BOARDS[name]
    text = json.dumps(board)
    assert set(re.findall(r"\bPIPELINE_[A-Z_]+", text)) <= set(variables())
    for path in re.findall(r"\b(?:deploy|schemas)/[\w./-]+\.md", text):
        assert (ROOT / path).is_file()
    titles = re.findall(r"^## (.+)$", (ROOT / "deploy" / "runbook.md").read_text(encoding="utf-8"), re.M)
    for title in re.findall(r"Runbook: ([^.\"]+)\.", text):
        assert title in titles
    for variable in board["templating"]["list"]:
        if variable["type"] == "query" and variable["datasource"]["type"] == PROM:
            assert set(re.findall(r"pipeline_\w+", variable["definition"])) <= SERIES.keys()


def test_every_metric_is_shown() -> None:
    """But for those that other panels have in another form."""
    shown = set(re.findall(r"\bpipeline_\w+", " ".join(promql(target) for *_, target in PROMQL)))
    families = {
        name: re.sub(r"_(bucket|sum|count)$", "", name) for name in SERIES if name.startswith("pipeline_")
    }
    missed = set(families.values()) - {families[name] for name in shown}
    assert {each for each in missed if not each.endswith("_created")} == set()


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    rules = [
        {"record": "panel:" + name.replace("-", "_"), "expr": promql(target)} for name, _, target in PROMQL
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run_promtool("check", "rules", str(file))


def test_prometheus_takes_its_configuration() -> None:
    run_promtool("check", "config", str(PROMETHEUS))


def statement(target: Mapping[str, Any]) -> str:
    """As the plugin asks ClickHouse, with every variable filled in."""
    text: str = target["rawSql"]
    for name, value in HOUR.items():
        text = text.replace(f"${{{name}}}", value)
    assert "$" not in text, text
    return text


@pytest.mark.slow
def test_clickhouse_answers_every_panel(database_url: str) -> None:
    with closing(Store(database_url)) as store:
        migrate(store)
    with closing(clickhouse_connect.get_client(dsn=database_url)) as client:
        for name, panel, target in SQL:
            client.query(statement(target))
            # Of an answer without rows the columns are not told.
            described = client.query(f"DESCRIBE ({statement(target)})")
            columns = {column: kind for column, kind, *_ in described.result_rows}
            for override in panel["fieldConfig"]["overrides"]:
                assert override["matcher"]["options"] in columns, name
            if target["queryType"] == "timeseries":
                assert columns["time"].startswith("DateTime"), name
            # Of a question without a bound there would be no such words.
            assert "${__from}" in target["rawSql"] and "${__to}" in target["rawSql"], name
        for board in BOARDS.values():
            for variable in board["templating"]["list"]:
                if variable["type"] == "query" and variable["datasource"]["type"] == CLICKHOUSE:
                    assert variable["query"] == variable["definition"]
                    client.query(variable["query"])


def test_grafana_is_given_what_the_boards_ask() -> None:
    given = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "session-pipeline.yaml").read_text())
    sources = {source["type"]: source for source in given["datasources"]}
    assert sources.keys() == {PROM, CLICKHOUSE}
    assert len({source["uid"] for source in sources.values()}) == len(sources)
    all_services = services()
    host, _, port = sources[PROM]["url"].removeprefix("http://").partition(":")
    assert all_services[host]["ports"][0].endswith(f":{port}")
    about = sources[CLICKHOUSE]
    assert all_services[about["jsonData"]["host"]]["ports"][0].endswith(f":{about['jsonData']['port']}")
    assert about["jsonData"]["username"] == "dashboard", "who only reads (test_deploy)"
    named = set(re.findall(r"\$(\w+)", json.dumps(given)))
    assert named == {"CLICKHOUSE_DATABASE", "DASHBOARD_CLICKHOUSE_PASSWORD"} <= environment("grafana").keys()
    same = {"CLICKHOUSE_DATABASE": "other", "DASHBOARD_CLICKHOUSE_PASSWORD": "secret2"}
    assert {**environment("grafana", same), **same} == environment("grafana", same)
    assert environment("grafana")["GF_PLUGINS_PREINSTALL_SYNC"] == CLICKHOUSE


def test_compose_mounts_what_they_look_for() -> None:
    mounted = {
        name: dict(reversed(volume.split(":")[:2]) for volume in services()[name]["volumes"])
        for name in ("prometheus", "grafana")
    }
    for volumes in mounted.values():
        for source in volumes.values():
            assert not source.startswith("./") or (ROOT / source).exists(), source
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "session-pipeline.yaml").read_text())
    assert mounted["grafana"][provider["providers"][0]["options"]["path"]] == "./deploy/grafana/dashboards"
    for kind in ("datasources", "dashboards"):
        assert (
            mounted["grafana"][f"/etc/grafana/provisioning/{kind}"] == f"./deploy/grafana/provisioning/{kind}"
        )
    (option,) = (each for each in services()["prometheus"]["command"] if each.startswith("--config.file="))
    config = option.partition("=")[2]
    assert (ROOT / mounted["prometheus"][config]) == PROMETHEUS
    (rules,) = yaml.safe_load(PROMETHEUS.read_text())["rule_files"]
    assert ROOT / mounted["prometheus"][str(Path(config).with_name(rules))] == RULES
    for name in ("prometheus", "grafana"):
        assert services()[name]["profiles"] == ["watch"], "the default stays small"


def test_prometheus_asks_every_service_that_has_metrics() -> None:
    (job,) = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    with_metrics = {"router", "sessionizer", "sink", "receive", "alerts"}
    assert set(names["names"]) == with_metrics
    assert {environment(name)["PIPELINE_METRICS_PORT"] for name in with_metrics} == {str(names["port"])}
    given = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "session-pipeline.yaml").read_text())
    step = yaml.safe_load(PROMETHEUS.read_text())["global"]["scrape_interval"]
    assert given["datasources"][0]["jsonData"]["timeInterval"] == step
