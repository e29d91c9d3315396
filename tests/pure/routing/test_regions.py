"""The table of places: ours, a deployment's, and what is told of a bad one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from fastgw.routing.regions import MAX_FILE_BYTES, MAX_PROBLEMS, MAX_REGIONS, MAX_REMEMBERED, RegionsError, load, parse

OURS = load()
NONE: frozenset[str] = frozenset()
GOOD: dict[str, Any] = {
    "regions": {"north": "North", "south": "South", "west": "West"},
    "distances": {"north": {"south": 30, "west": 10}, "west": {"south": 12.5}},
    "countries": {"NO": "north"},
    "aliases": {"n1": "north"},
    "networks": {"10.0.0.0/8": "south", "10.9.0.0/16": "west", "fd00::/8": "north"},
}


def test_the_codes_of_the_platform() -> None:
    assert set(OURS.names) == {
        "asia-east", "asia-south", "europe-west", "europe-east", "america-north", "america-south", "oceania",
    }  # fmt: skip


def test_every_country_of_iso_3166_is_somewhere() -> None:
    table = Path("/usr/share/zoneinfo/iso3166.tab")
    if not table.exists():
        pytest.skip("this system has no list of countries")
    countries = {line[:2].encode() for line in table.read_text().splitlines() if line and line[0] != "#"}
    assert countries <= set(OURS.countries)
    assert set(OURS.countries) - countries <= {b"XK"}


def test_distances_are_known_both_ways_and_make_sense() -> None:
    for one in OURS.names:
        assert OURS.distance(one, one) == 0
        for other in OURS.names:
            assert OURS.distance(one, other) == OURS.distance(other, one) < 1000
    nearest = min((n for n in OURS.names if n != "europe-west"), key=lambda n: OURS.distance("europe-west", n))
    assert nearest == "europe-east"


def test_other_names_have_the_distances_of_what_they_stand_for() -> None:
    assert OURS.distance("eu-west-1", "oceania") == OURS.distance("europe-west", "oceania")
    assert OURS.distance("eu-west-1", "eu-central-1") == 0
    assert OURS.distance("atlantis", "oceania") == float("inf")
    assert OURS.distance("atlantis", "atlantis") == 0


@pytest.mark.parametrize(
    ("fields", "region"),
    [
        ({}, None),
        ({"x-client-region": "oceania"}, "oceania"),
        ({"x-client-region": " OCEANIA "}, "oceania"),
        ({"x-client-region": "ap-northeast-1"}, "asia-east"),
        ({"x-client-region": "us-west"}, "us-west"),  # a backend's own
        ({"cf-ipcountry": "BR"}, "america-south"),
        ({"cf-ipcountry": "br"}, "america-south"),
        ({"cf-ipcountry": "XX"}, None),
        ({"cf-ipcountry": "T1"}, None),
        ({"x-amzn-region": "sa-east-1"}, "america-south"),
        ({"x-client-region": "asia-east", "cf-ipcountry": "BR", "x-amzn-region": "eu-west-1"}, "asia-east"),
        ({"x-client-region": "nonsense", "cf-ipcountry": "BR", "x-amzn-region": "eu-west-1"}, "america-south"),
        ({"x-client-region": "", "cf-ipcountry": "T1", "x-amzn-region": "eu-west-1"}, "europe-west"),
        ({"x-client-region": "\xff\x00" * 4000}, None),
    ],
)
def test_where_a_client_is(fields: dict[str, str], region: str | None) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    assert OURS.of_client([(b"host", b"x"), *headers], "203.0.113.9", frozenset({"us-west"})) == region


@pytest.mark.parametrize(
    ("address", "region"),
    [("10.1.2.3", "south"), ("10.9.2.3", "west"), ("fd00::1", "north"), ("203.0.113.9", None), ("", None)],
)
def test_without_a_word_the_network_tells(address: str, region: str | None) -> None:
    regions = parse(GOOD)
    assert regions.of_client([], address, NONE) == region
    assert regions.of_client([(b"x-client-region", b"?")], address, NONE) == region
    assert regions.of_client([(b"cf-ipcountry", b"NO")], address, NONE) == "north"


def test_addresses_that_are_remembered_are_bounded() -> None:
    regions = parse(GOOD)
    for number in range(MAX_REMEMBERED + 5):
        regions.of_client([], f"10.0.{number // 256}.{number % 256}", NONE)
    assert len(regions._of_address) <= MAX_REMEMBERED


def changed(path: str, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    table = content
    for parent in parents:
        table = table[parent]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("regions", None, "regions is missing or empty"),
        ("regions", [], "regions is no object"),
        ("regions/North!", "x", "'North!' is no code of small letters"),
        ("regions/north", 3, "the name of 'north' is no text"),
        ("distances", None, "from north to south is missing"),
        ("distances/west/south", None, "from south to west is missing"),
        ("distances/north/south", "far", "from north to south is no number from 0 on"),
        ("distances/north/south", -1, "from north to south is no number from 0 on"),
        ("distances/north/south", True, "from north to south is no number from 0 on"),
        ("distances/north/south", float("nan"), "from north to south is no number from 0 on"),
        ("distances/south", {"north": 31}, "from north to south is not the same as back"),
        ("distances/north/nowhere", 3, "'nowhere' is none of the regions"),
        ("distances/north", 3, "what is said of 'north' is no object"),
        ("countries/de", "north", "'de' is not a country's two capital letters"),
        ("countries/DE", "nowhere", "what 'DE' stands for is none of the regions"),
        ("countries/DE", 3, "what 'DE' stands for is none of the regions"),
        ("aliases/N 1", "north", "'N 1' is not small letters, digits and -"),
        ("networks/10.0.0", "north", "'10.0.0' is no network such as"),
        ("kountries", {}, "'kountries' is unknown; there are aliases, countries"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(path: str, value: Any, problem: str) -> None:
    with pytest.raises(RegionsError) as refused:
        parse(changed(path, value))
    assert problem in str(refused.value)


def test_all_that_is_wrong_is_told_at_once_but_no_book() -> None:
    content = changed("countries", {f"x{number}": "nowhere" for number in range(100)})
    with pytest.raises(RegionsError) as refused:
        parse(content)
    lines = str(refused.value).splitlines()
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1] == f"and {200 - MAX_PROBLEMS} more"


def test_too_many_regions() -> None:
    with pytest.raises(RegionsError, match=f"more than {MAX_REGIONS} codes"):
        parse({"regions": {f"r{number}": "" for number in range(MAX_REGIONS + 1)}})


@pytest.mark.parametrize("content", [[], 3, None, "x"])
def test_no_object(content: Any) -> None:
    with pytest.raises(RegionsError, match="no object"):
        parse(content)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "regions.json"
    file.write_text(json.dumps(GOOD))
    assert load(file).distance("south", "west") == 12.5
    file.write_text("{")
    with pytest.raises(RegionsError, match="no JSON"):
        load(file)
    file.write_text("[" * 100_000)
    with pytest.raises(RegionsError, match="no JSON"):
        load(file)
    file.write_text(" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(RegionsError, match="longer than"):
        load(file)
    with pytest.raises(RegionsError, match="can't be read"):
        load(tmp_path / "missing.json")
