"""Dashboards, alerts, runbooks and the metrics that there are say the same."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiki_server.telemetry.metrics import REGISTRY as SERVER
from aiki_worker.metrics import REGISTRY as WORKER

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "helm" / "aiki" / "alerts" / "aiki.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
PROMTOOL = os.environ.get("AIKI_PROMTOOL", "")
NAMES = re.compile(r"\baiki_\w+")
SELECTOR = re.compile(r"(aiki_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on) \(([^)]*)\)")
EVERYWHERE = {"instance", "le"}


def series() -> dict[str, set[str]]:
    """Every name that Prometheus knows of ours, and its labels."""
    found: dict[str, set[str]] = {}
    for metric in [*SERVER, *WORKER]:
        for name in names_of(metric):
            found[name] = {*metric.labels}
    return found


def names_of(metric: Any) -> list[str]:
    """The classes of server and worker are not the same, their kinds are."""
    endings = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}
    return [f"{metric.prometheus_name}{ending}" for ending in endings[metric.kind]]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> list[Path]:
    return sorted((ROOT / "helm" / "aiki" / "dashboards").glob("*.json"))


def queries() -> Iterator[tuple[str, str]]:
    """Where each query stands, and it."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for path in dashboards():
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def test_what_is_shown_is_measured() -> None:
    """No dashboard and no alert asks for a metric, or by a label, that there is not."""
    known = series()
    wrong: list[str] = []
    for where, query in queries():
        asked = NAMES.findall(query)
        wrong += [f"{where}: no metric {name}" for name in asked if name not in known]
        labels = {label for name in asked for label in known.get(name, ())} | EVERYWHERE
        used = {label.strip() for group in GROUPING.findall(query) for label in group.split(",")}
        used |= {
            re.split("[=!]", matcher)[0].strip()
            for _, matchers in SELECTOR.findall(query)
            for matcher in matchers.split(",")
            if matcher
        }
        wrong += [f"{where}: no label {label}" for label in used - labels]

    assert wrong == []


def test_what_is_measured_is_shown() -> None:
    """Every metric stands in a dashboard or an alert: one that nobody looks at is not worth its cost."""
    shown = {name for _, query in queries() for name in NAMES.findall(query)}
    hidden = [metric.name for metric in [*SERVER, *WORKER] if not shown & set(names_of(metric))]

    assert hidden == []


def test_dashboards_are_fresh() -> None:
    """They are what `helm/draw-dashboards` draws."""
    subprocess.run([sys.executable, str(ROOT / "helm" / "draw-dashboards"), "--check"], check=True)


def test_each_alert_has_a_runbook() -> None:
    """A page with the same three headings, and no page without an alert."""
    alerts = [rule["alert"] for rule in rules()]

    assert sorted(alerts) == sorted(path.stem for path in RUNBOOKS.glob("*.md"))
    for rule in rules():
        page = ROOT / rule["annotations"]["runbook_url"]
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {rule['alert']}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
            "What it costs",
            "What to look at",
            "What to do",
        ]


@pytest.mark.skipif(not PROMTOOL, reason="AIKI_PROMTOOL names no promtool: make test-alerts brings one")
def test_promtool_takes_the_rules() -> None:
    """It knows every word of them, and its unit tests say when each alert fires and when not."""
    subprocess.run([PROMTOOL, "check", "rules", str(ALERTS)], check=True)
    subprocess.run([PROMTOOL, "test", "rules", str(Path(__file__).parent / "alerts_test.yaml")], check=True)


@pytest.mark.skipif(not PROMTOOL, reason="AIKI_PROMTOOL names no promtool: make test-alerts brings one")
def test_promtool_takes_the_queries_of_dashboards(tmp_path: Path) -> None:
    """Given as rules, with Grafana's variables filled in."""
    filled = [query.replace("$__rate_interval", "5m").replace("$namespace", ".*") for _, query in queries()]
    recorded = [{"record": f"shown:number_{number}", "expr": query} for number, query in enumerate(filled)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": recorded}]}), encoding="utf-8")

    subprocess.run([PROMTOOL, "check", "rules", "--lint-fatal", str(path)], check=True)
