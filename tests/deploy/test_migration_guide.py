"""docs/guide/migration.md names what there is."""

from __future__ import annotations

import re

import pytest

from tests.support.families import exported
from tests.support.processes import ROOT, SETTINGS

GUIDE = ROOT / "docs" / "guide" / "migration.md"
TEXT = GUIDE.read_text()
NOT_OURS = {
    "NGINX_ADDRESS",
    "NGINX",
    "NGINX_CONF_DIR",
    "NGINX_PID",
    "NGINX_PHASE_URL",
    "NGINX_TAKEN_S",
    "GATEWAY_URL",
    "FASTGW_COMPARE",
}


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_links_lead_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = GUIDE.parent / path if path else GUIDE
    assert target.is_file()
    assert not anchor or anchor in anchors(target.read_text())


def test_files_exist() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", TEXT)) - {
        "deploy/test_nginx",
        "deploy/test_service",
        "deploy/test_containers",
    }
    assert len(named) > 5
    assert [one for one in named if not (ROOT / one).exists()] == []
    configs = set(re.findall(r"`([\w-]+\.conf)`", TEXT)) - {"current.conf"}
    assert [one for one in configs if not (ROOT / "deploy" / "nginx" / one).exists()] == []


def test_settings_and_metrics_exist() -> None:
    names = set(re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b", TEXT)) - NOT_OURS
    assert names <= SETTINGS
    assert set(re.findall(r"\bgateway_[a-z_]+\b", TEXT)) <= {
        re.sub("_(bucket|count|sum)$", "", one) for one in exported()
    }
