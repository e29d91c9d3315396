"""The house keeps its own rules: sizes, imports, and pages that say what the code says."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import fastgw.gateway
from fastgw.errors import ALL

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fastgw"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
ENVIRONMENT_READER = PACKAGE / "settings" / "load.py"
HANDED_ON = "# noqa: TID251 -- handed on, not read"
"""Whoever starts another process may give it the environment."""

STEPS = re.compile(r"^ {4}(\w+(?: -> \w+)+)$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(path: str) -> str:
    return (ROOT / path).read_text()


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_files_and_functions_fit(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{lines} lines; split it by subject"
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= MAX_FUNCTION_LINES, f"{function.name} has {length} lines; a function fits a screen"


def test_who_may_know_whom() -> None:
    """The contracts of pyproject.toml, checked by the tool itself."""
    tool = Path(sys.executable).with_name("lint-imports")
    assert tool.exists(), "import-linter is missing: pip install -e '.[dev]'"
    result = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", ["docs/architecture.md", "README.md", "README.zh-CN.md"])
def test_the_steps_are_the_same_everywhere(path: str) -> None:
    code = STEPS.findall(fastgw.gateway.__doc__ or "")
    assert len(code) == 1, "gateway.py's docstring has one line with the steps"
    assert code[0] in STEPS.findall(page(path)), f"{path} tells another path than gateway.py: {code[0]}"


def table_of_steps(path: str) -> dict[str, list[str]]:
    """Step -> the files that the page's table names for it."""
    rows = re.findall(r"^\| (\w+) \| [^|]+ \| (.+) \|$", page(path), re.MULTILINE)
    return {step: re.findall(r"`(fastgw/[\w/]+\.py)`", files) for step, files in rows if "`fastgw/" in files}


@pytest.mark.parametrize("path", ["README.md", "README.zh-CN.md"])
def test_the_table_of_steps_is_the_path_and_its_doors_exist(path: str) -> None:
    (code,) = STEPS.findall(fastgw.gateway.__doc__ or "")
    table = table_of_steps(path)
    assert list(table) == code.split(" -> ")
    assert [file for files in table.values() for file in files if not (ROOT / file).is_file()] == []
    doors = set(re.findall(r"^ {8}(\w+/\w+\.py) {2,}", inspect.getsource(fastgw.gateway.Gateway), re.MULTILINE))
    named = {file.removeprefix("fastgw/") for files in table.values() for file in files}
    assert doors - named == {"forwarding/shed.py"}, "the table names the doors that gateway.py names"


def test_the_picture_is_the_path() -> None:
    """Drawn from the code (scripts/draw_path.py), shown by both pages, and well-formed."""
    (code,) = STEPS.findall(fastgw.gateway.__doc__ or "")
    drawn = ROOT / "docs" / "images" / "request-path.svg"
    svg = "{http://www.w3.org/2000/svg}"
    names = [step.findtext(f"{svg}text") for step in ET.parse(drawn).iterfind(f"{svg}g[@class='step']")]
    assert names == code.split(" -> ")
    fresh = runpy.run_path(str(ROOT / "scripts" / "draw_path.py"))["picture"]()
    assert drawn.read_text() == fresh, "run: make docs"
    for path in ("README.md", "README.zh-CN.md"):
        assert "(docs/images/request-path.svg)" in page(path)


def test_every_file_that_the_architecture_names_is_there() -> None:
    named = set(re.findall(r"`(\w[\w./]*(?:\.py|/))`", page("docs/architecture.md")))
    assert len(named) > 10
    missing = sorted(one for one in named if not (PACKAGE / one).exists() and not (ROOT / one).exists())
    assert not missing


def test_one_file_reads_the_environment() -> None:
    reads = re.compile(r"\b(os\.environ|os\.getenv|from os import .*\b(environ|getenv)\b)")
    others = [(name(p), line) for p in SOURCES if p != ENVIRONMENT_READER for line in p.read_text().splitlines()]
    assert [one for one in others if reads.search(one[1]) and HANDED_ON not in one[1]] == []
    assert reads.search(ENVIRONMENT_READER.read_text())


def test_every_error_has_its_own_code_and_a_line_in_the_reference() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    reference = page("docs/reference/errors.md")
    for kind in ALL:
        assert re.search(rf"^\| `?{kind.code}`? \| {kind.status} \|", reference, re.MULTILINE), (
            f"{kind.code} is missing"
        )


def test_every_error_kind_is_in_the_list() -> None:
    made = {value.code for value in vars(fastgw.errors).values() if isinstance(value, fastgw.errors.ErrorKind)}
    assert made == {kind.code for kind in ALL}
