"""The rules of the Redis user: what fastgw calls is allowed, and no more than that. tests/store/ asks real servers."""

from __future__ import annotations

import re
from pathlib import Path

from fastgw.store.acl import COMMANDS, RULES, acl_file, rules, user_line

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "fastgw"
ALLOWED = {command for group in COMMANDS.values() for command in group}

IN_SCRIPTS = re.compile(r"redis\.p?call\(\s*['\"](\w+)['\"]")
IN_CODE = re.compile(r"\b(?:command|fire)\(\s*[\w.()]+,\s*b\"([A-Z]+)\"|\bpack\(\(\"([A-Z]+)\"|\\n([A-Z]+)\\r")
BY_CLIENT = re.compile(r"execute_command\(\s*\"(\w+)\"")


def test_the_file_is_what_the_rules_say() -> None:
    assert (ROOT / "deploy/redis/fastgw.acl").read_text() == acl_file(), "run `make docs`"


def test_the_file_is_one_line_that_asks_for_a_password() -> None:
    """Redis takes no comments in an ACL file, and no user twice."""
    (line,) = acl_file().splitlines()
    assert line.startswith(
        "user fastgw on >CHANGE-ME resetkeys ~gateway:* %R~worker:* %R~queue:* resetchannels -@all +"
    )
    assert "nopass" not in line


def test_no_rule_gives_more_than_single_commands() -> None:
    given = RULES[RULES.index("-@all") + 1 :]
    assert all(re.fullmatch(r"\+[a-z]+(\|[a-z]+)?", rule) for rule in given)
    assert len(set(given)) == len(given)
    assert [rule for rule in RULES if rule.startswith(("~", "%", "&", "all"))] == [
        "~gateway:*",
        "%R~worker:*",
        "%R~queue:*",
    ]


def test_nothing_that_could_harm_others_is_allowed() -> None:
    harmful = (
        "keys flushall flushdb config acl debug shutdown monitor script function rename swapdb migrate publish info"
    )
    assert not ALLOWED & set(harmful.split())


def test_another_prefix_moves_the_keys_that_may_be_written() -> None:
    assert "~eu1:*" in rules("eu1:")
    assert "~gateway:*" not in user_line("nopass", "eu1:")


def test_all_that_the_scripts_call_is_allowed() -> None:
    called = {name.lower() for path in PACKAGE.rglob("*.lua") for name in IN_SCRIPTS.findall(path.read_text())}
    assert {"time", "zadd"} <= called
    assert called <= ALLOWED


def test_all_that_the_code_sends_is_allowed() -> None:
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if "demo" not in path.parts]
    found = [one for source in sources for one in (*IN_CODE.findall(source), *map(tuple, BY_CLIENT.findall(source)))]
    sent = {"".join(names).lower() for names in found} - {""}
    assert {"time", "zrem", "scan"} <= sent
    assert sent <= {command.partition("|")[0] for command in ALLOWED}
