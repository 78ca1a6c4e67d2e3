"""A real Prometheus scrapes real servers: every query of the dashboard and every alert finds what it asks for."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from merklelog.servers.families import FAMILIES
from tests.servers.prometheus import Prometheus, running
from tests.servers.watch.conftest import ROOT, Server, Start

DEPLOY = ROOT / "tools" / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "merklelog.json").read_text("utf-8"))
A = "watch.example/a"

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
# What Grafana puts in for its variables when "All" is chosen.
VARIABLES = {"$job": ".*", "$instance": ".*", "$log": ".*", "$__rate_interval": "1m"}


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def metrics_in(expression: str) -> set[str]:
    """The metrics of this project that an expression names, histograms by their own name."""
    names = set(re.findall(r"\bmerklelog_\w+", expression))
    histograms = {family.name for family in FAMILIES if family.kind == "histogram"}
    return {name.rpartition("_")[0] if name.rpartition("_")[0] in histograms else name for name in names}


def load(server: Server, stop: threading.Event) -> None:
    """A little of everything, for as long as the tests ask."""
    number = 0
    while not stop.is_set():
        number += 1
        server.add(b"%d" % number)
        server.append(b"%d" % number)
        server.get("http", "/checkpoint")
        server.get("http", "/nothing")
        stop.wait(0.05)


@pytest.fixture(scope="module")
def well(start: Start) -> Server:
    return start("a", published="a", options=("--records",))


@pytest.fixture(scope="module")
def ill(start: Start) -> Server:
    """A server whose log stops at its first commit."""
    server = start("a", options=("--stop-after", "1"))
    assert server.add(b"x") == 503
    return server


@pytest.fixture(scope="module")
def prometheus(
    well: Server, ill: Server, prometheus_bin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    stop = threading.Event()
    thread = threading.Thread(target=load, args=(well, stop))
    thread.start()
    folder = tmp_path_factory.mktemp("prometheus")
    try:
        with running(folder, prometheus_bin, [well.admin, ill.admin], ALERTS) as server:
            # Rates need a few scrapes, and the first one may have come before the first append.
            for metric in ("merklelog_log_entries_total", "merklelog_requests_total"):
                server.wait_for(f"rate({metric}[1m]) > 0")
            yield server
    finally:
        stop.set()
        thread.join()


def test_both_servers_are_scraped(prometheus: Prometheus, well: Server, ill: Server) -> None:
    up = {each["metric"]["instance"]: each["value"][1] for each in prometheus.query('up{job="merklelog"}')}
    assert up == {well.admin: "1", ill.admin: "1"}


@pytest.mark.parametrize("expression", QUERIES)
def test_a_panel_shows_something(prometheus: Prometheus, expression: str) -> None:
    result = prometheus.wait_for(filled(expression))
    values = [float(each["value"][1]) for each in result]
    assert any(value == value for value in values), f"only NaN for {expression}"


@pytest.mark.parametrize("variable", ["job", "instance", "log"])
def test_a_variable_has_values(prometheus: Prometheus, variable: str) -> None:
    """`label_values(SELECTOR, LABEL)` is Grafana's own; Prometheus has it as a path with a parameter."""
    definition = next(v["definition"] for v in DASHBOARD["templating"]["list"] if v["name"] == variable)
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", definition)
    assert match is not None
    values = prometheus.get(f"label/{match[2]}/values", **{"match[]": filled(match[1])})
    assert len(values) == (2 if variable == "instance" else 1)


def test_the_annotations_query_is_one(prometheus: Prometheus) -> None:
    for annotation in DASHBOARD["annotations"]["list"]:
        assert prometheus.query(filled(annotation["expr"])) == []  # nobody restarted


def test_prometheus_takes_every_alert(prometheus: Prometheus) -> None:
    prometheus.wait_for("ALERTS")
    rules = rules_of(prometheus)
    assert len(rules) >= 15
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}


def rules_of(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The rules once each was evaluated."""
    while True:
        groups = prometheus.get("rules", type="alert")["groups"]
        rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in rules):
            return rules


def test_what_an_alert_looks_at_is_there(prometheus: Prometheus) -> None:
    """Its expression is empty while all is well, so each metric in it is asked for by itself."""
    names: set[str] = set()
    for rule in rules_of(prometheus):
        names |= set(re.findall(r"\b(?:merklelog|process)_\w+|\bup\b", rule["query"]))
    assert len(names) > 10
    for name in names:
        assert prometheus.wait_for(name), name


def test_a_stopped_log_fires_and_a_well_one_does_not(prometheus: Prometheus, ill: Server) -> None:
    prometheus.wait_for('ALERTS{alertname="MerklelogLogStopped", alertstate="firing"}')
    alerts = prometheus.get("alerts")["alerts"]
    firing = [alert for alert in alerts if alert["state"] == "firing"]
    assert {alert["labels"]["instance"] for alert in firing} == {ill.admin}
    stopped = next(each for each in firing if each["labels"]["alertname"] == "MerklelogLogStopped")
    assert stopped["annotations"]["summary"] == f"{A} on {ill.admin} was stopped by a failure"
    pending = {alert["labels"]["alertname"] for alert in alerts if alert["labels"]["instance"] == ill.admin}
    assert "MerklelogNotReady" in pending


# --- the files by themselves ------------------------------------------------------------------------------------


def test_promtool_takes_the_rules_and_their_tests(prometheus_bin: Path) -> None:
    for words in (("check", "rules", str(ALERTS)), ("test", "rules", str(ALERT_TESTS))):
        done = subprocess.run([prometheus_bin / "promtool", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_is_what_the_tables_say() -> None:
    spec = importlib.util.spec_from_file_location("metrics_page", ROOT / "tools" / "metrics_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text("utf-8") == module.page(), "run tools/metrics_page.py"
    for family in FAMILIES:
        assert f"| `{family.name}` |" in module.page()
    for name in re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8")):
        assert f"| `{name}` |" in module.page()


def test_promtool_takes_the_scrape_configuration(prometheus_bin: Path) -> None:
    command = [prometheus_bin / "promtool", "check", "config", DEPLOY / "prometheus" / "prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_to_fire() -> None:
    named = re.findall(r"- alert: (\w+)", ALERTS.read_text("utf-8"))
    assert len(named) == len(set(named)) >= 15
    tested = ALERT_TESTS.read_text("utf-8")
    shown = set(re.findall(r'alertname="(\w+)"', tested)) | set(re.findall(r"alertname: (\w+)", tested))
    assert shown == set(named)


def test_dashboard_and_alerts_name_only_metrics_that_exist() -> None:
    names = {family.name for family in FAMILIES}
    texts = [json.dumps(DASHBOARD), ALERTS.read_text("utf-8"), ALERT_TESTS.read_text("utf-8")]
    for text in texts:
        assert metrics_in(text)
        assert metrics_in(text) <= names
    used = set().union(*map(metrics_in, texts))
    # What is left is read by a person, in /metrics.
    assert names - used == {"merklelog_server_logs", "merklelog_log_appends_total"}


def test_the_dashboard_is_one_that_grafana_can_lay_out() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert 'job=~"$job",instance=~"$instance"' in target["expr"]
