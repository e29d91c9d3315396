"""The pages of docs/guide, and README, name what there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastgw.errors import ALL
from tests.support.families import exported
from tests.support.processes import ROOT, SETTINGS

FOLDER = ROOT / "docs" / "guide"
GUIDE = FOLDER / "migration.md"
TEXT = GUIDE.read_text()
PAGES = [*sorted(FOLDER.glob("*.md")), ROOT / "README.md", ROOT / "README.zh-CN.md"]
LINKS = [(page, link) for page in PAGES for link in sorted(set(re.findall(r"\]\(([^)\s]+)\)", page.read_text())))]
NOT_OURS = {
    "NGINX_ADDRESS",
    "NGINX",
    "NGINX_CONF_DIR",
    "NGINX_PID",
    "NGINX_PHASE_URL",
    "NGINX_TAKEN_S",
    "GATEWAY_URL",
    "FASTGW_COMPARE",
    "LOADTEST_CLIENTS",
    "RATE_LIMIT_MAX_REQUEST",  # a misspelling that is explained
}


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}: {link}" for page, link in LINKS])
def test_links_lead_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.is_file() or (target.is_dir() and not anchor)
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


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_settings_and_metrics_exist(page: Path) -> None:
    text = page.read_text()
    names = set(re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b", text)) - NOT_OURS - {kind.code for kind in ALL}
    assert names <= SETTINGS
    families = set(re.findall(r"\bgateway_[a-z_]*[a-z]\b", text))
    known = {re.sub("_(bucket|count|sum)$", "", one) for one in exported()}
    assert [one for one in families if not any(name.startswith(one.removesuffix("_count")) for name in known)] == []


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed: apt install jq")
@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda path: path.name)
def test_programs_for_jq_are_understood(page: Path) -> None:
    """Also by jq 1.6, to which some words are keywords that 1.7 takes for names."""
    for program in re.findall(r"\bjq(?: -\w+)* '([^']+)'", page.read_text()):
        done = subprocess.run(
            ["jq", "-n", f"def page: {program}; 0"], capture_output=True, text=True, timeout=10, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
