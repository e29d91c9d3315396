"""The systemd unit and the firewall lines: the tools that will read them take them."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fastgw.settings.model import Settings
from tests.support.processes import ROOT

UNIT = ROOT / "deploy" / "systemd" / "fastgw.service"
FIREWALL = ROOT / "deploy" / "firewall"


def tool(name: str, package: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed: apt install {package}")
    return path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With a program in place of fastgw's that is on every machine: systemd looks for it."""
    analyze = tool("systemd-analyze", "systemd")
    unit = tmp_path / "fastgw.service"
    unit.write_text(UNIT.read_text().replace("/opt/fastgw/bin/fastgw", "/bin/true"))
    done = run(analyze, "verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_gives_time_to_drain_and_takes_rights_away() -> None:
    parser = configparser.ConfigParser(strict=False)
    parser.read(UNIT)
    service = parser["Service"]
    assert int(service["TimeoutStopSec"]) > Settings().shutdown_grace_seconds + 5
    assert service["KillMode"] == "mixed"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["Restart"] == "on-failure"
    for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert service[name] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["User"] not in ("", "root")
    assert int(service["LimitNOFILE"]) >= 65536


def test_nftables_takes_the_rules() -> None:
    nft = tool("nft", "nftables")
    done = run(nft, "-c", "-f", str(FIREWALL / "fastgw.nft"))
    if "Operation not permitted" in done.stderr:
        pytest.skip("nft asks the kernel, and may not here")
    assert done.returncode == 0, done.stderr


def test_iptables_takes_the_rules() -> None:
    restore = tool("iptables-restore", "iptables")
    done = run(restore, "--test", "--noflush", str(FIREWALL / "fastgw.iptables"))
    if "ermission denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("iptables asks the kernel, and may not here")
    assert done.returncode == 0, done.stderr
