"""What Prometheus and Grafana are given: promtool takes it, alerts fire when they should, what is asked for exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.families import Families, exported, families, scraped
from tests.support.promql import WrongExpression, labels_of, metrics_of

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "fastgw.json"
PAGE = "docs/concepts/monitoring.md"
GROUPS = yaml.safe_load((PROMETHEUS / "fastgw.rules.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = [rule for rule in RULES if "record" in rule]
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], one["expr"], one["legendFormat"]) for panel in PANELS for one in panel["targets"]]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt install --no-install-recommends prometheus"
)


@pytest.fixture(scope="session")
def exported_families() -> Families:
    """What a gateway exports: each family's name, and its labels."""
    return exported()


@pytest.fixture(scope="session")
def recorded(exported_families: Families) -> Families:
    """The recorded series, in order, as each may rest on those before."""
    made: Families = {}
    for rule in RECORDED:
        made[rule["record"]] = labels_of(rule["expr"], exported_families, made) or frozenset()
    return made


def promtool(*arguments: str, at: Path = PROMETHEUS) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=at, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def asked(expr: str) -> str:
    """A panel's query with Grafana's variables filled in."""
    return expr.replace("$__rate_interval", "1m").replace('"$job"', '".*"')


@needs_promtool
def test_promtool_takes_rules_and_config():
    promtool("check", "rules", "fastgw.rules.yml")
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then():
    promtool("test", "rules", "fastgw.rules.test.yml")


@needs_promtool
def test_the_token_in_the_config_is_where_prometheus_wants_it(tmp_path):
    """The commented lines, with their comment signs taken away."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    token = tmp_path / "token"
    token.write_text("secret\n")
    text, changed = re.subn(r"^(    )# (authorization:|  type:|  credentials_file:)", r"\1\2", text, flags=re.MULTILINE)
    assert changed == 3
    text = text.replace("/etc/prometheus/fastgw-token", str(token))
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(PROMETHEUS / "fastgw.rules.yml", tmp_path)
    promtool("check", "config", "prometheus.yml", at=tmp_path)
    assert yaml.safe_load(text)["scrape_configs"][0]["authorization"]["credentials_file"] == str(token)


@needs_promtool
def test_promtool_takes_the_dashboards_queries(tmp_path):
    rules = [{"record": f"panel:{i}", "expr": asked(expr)} for i, (_, expr, _) in enumerate(QUERIES)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "panels.yml", at=tmp_path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_what_is_exported(rule, exported_families, recorded):
    labels = labels_of(rule["expr"], exported_families, recorded)
    assert labels is not None
    assert "job" in labels, "two installations would be mixed up"
    if "record" in rule:
        level = rule["record"].split(":")[0]
        assert level == "_".join(sorted(labels)), "the name of what is recorded begins with its labels"


@pytest.mark.parametrize(("title", "expr", "legend"), QUERIES, ids=[f"{title}: {of}" for title, _, of in QUERIES])
def test_a_panel_asks_for_what_is_exported(title, expr, legend, exported_families):
    labels = labels_of(expr, exported_families)
    assert labels is not None
    assert set(re.findall(r"{{(\w+)}}", legend)) <= labels


def test_every_family_is_shown(exported_families):
    shown = set().union(*(metrics_of(expr, exported_families) for _, expr, _ in QUERIES))
    assert sorted(exported_families.keys() - shown) == []


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_what_how_much_and_what_to_do(rule, exported_families, recorded):
    labels = labels_of(rule["expr"], exported_families, recorded)
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    says = rule["annotations"]
    assert set(says) == {"summary", "description", "runbook"}
    assert "$value" in says["description"] or rule["alert"] == "GatewayAway"
    assert set(re.findall(r"\$labels\.(\w+)", " ".join(says.values()))) <= labels
    doing, _, section = says["runbook"].rpartition(f": {PAGE}#")
    assert doing, "first what to do next, then where to read on"
    assert section in anchors(), f"{PAGE} has no such section"


def test_every_alert_is_tested_to_fire():
    fires = set(re.findall(r'labels: \'{alertname="(\w+)"', (PROMETHEUS / "fastgw.rules.test.yml").read_text()))
    assert fires == {rule["alert"] for rule in ALERTS}


def test_the_page_names_every_family_and_every_alert(exported_families):
    page = (ROOT / PAGE).read_text()
    table = re.findall(r"^\| (`gateway_.*?) \|", page, re.MULTILINE)
    named = [one for cell in table for one in re.findall(r"`(gateway_\w+)", cell)]
    assert sorted(named) == sorted(exported_families)
    labels = {name: frozenset(re.split(r", *", some)) for name, some in re.findall(r"`(\w+)\{([\w, ]+)\}`", page)}
    assert labels == {name: its - {"le"} for name, its in exported_families.items() if its - {"le"}}
    sections = {rule["annotations"]["runbook"].rpartition("#")[2] for rule in ALERTS}
    runbook = page.partition("\n## What to do\n")[2].partition("\n## ")[0]
    assert {anchor(one) for one in re.findall(r"^### (.+)$", runbook, re.MULTILINE)} == sections
    assert [rule["alert"] for rule in ALERTS if f"`{rule['alert']}`" not in runbook] == []


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def anchors() -> set[str]:
    return {anchor(one) for one in re.findall(r"^#+ (.+)$", (ROOT / PAGE).read_text(), re.MULTILINE)}


@pytest.mark.parametrize(
    "expr",
    [
        "sum(rate(gateway_request_total[5m]))",
        "gateway_overhead_seconds",
        "gateway_redis_up_count",
        'gateway_redis_up{backend="b"}',
        "sum by (backend) (gateway_redis_up)",
        "sum(gateway_redis_up) by (backend)",
        'gateway_overhead_seconds_count{le="0.001"}',
        "histogram_quantile(0.9, sum by (job) (rate(gateway_overhead_seconds_bucket[5m])))",
        "gateway_workers_busy / gateway_redis_up",
        "gateway_workers_busy / on (region) gateway_redis_up",
        "gateway_workers_busy / ignoring (job) gateway_redis_up",
        "sum by (region) (sum by (job) (gateway_workers_busy))",
        "job:gateway_nothing:rate5m",
    ],
)
def test_the_reader_objects(expr, exported_families):
    with pytest.raises(WrongExpression):
        labels_of(expr, exported_families)


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ("1 + 2 * 3", None),
        ("gateway_redis_up == 0", {"job", "instance"}),
        ("1 - gateway_redis_up offset 1h", {"job", "instance"}),
        ("sum without (instance) (gateway_workers_busy)", {"job", "region"}),
        ("sum(gateway_workers_busy) by (region)", {"region"}),
        ("gateway_workers_busy / on (job, instance) group_left () gateway_redis_up", {"job", "instance", "region"}),
        ("gateway_workers_busy / ignoring (region) group_left gateway_redis_up", {"job", "instance", "region"}),
        ('absent(up{job="a", instance=~"b"})', {"job"}),
        ("max_over_time(sum by (job) (gateway_redis_up)[1h:1m]) or vector(0)", {"job"}),
        ("topk(3, gateway_workers_busy) and on (job) gateway_redis_up", {"job", "instance", "region"}),
    ],
)
def test_the_reader_knows_the_labels_of_the_result(expr, labels, exported_families):
    assert labels_of(expr, exported_families) == labels


def test_families_are_read_from_what_a_gateway_exports_too():
    text = """# HELP gateway_redis_up Whether Redis answers.
# TYPE gateway_redis_up gauge
gateway_redis_up 1
# TYPE gateway_retries counter
gateway_retries_total 0
# TYPE gateway_auth_failures_total counter
gateway_auth_failures_total{reason="wrong, {\\"quoted\\"}"} 2 1700000000
# TYPE gateway_request_duration_seconds histogram
gateway_request_duration_seconds_bucket{route="/jobs/{id}",le="0.001"} 1 # {trace_id="4bf9"} 0.0007
gateway_request_duration_seconds_sum{route="/jobs/{id}"} 0.0007
gateway_request_duration_seconds_count{route="/jobs/{id}"} 1
# TYPE gateway_overhead_seconds histogram
# EOF
"""
    assert scraped(text) == families(
        "gateway_redis_up gateway_retries_total gateway_auth_failures_total{reason}"
        " gateway_request_duration_seconds{route,le} gateway_overhead_seconds{le}"
    )
