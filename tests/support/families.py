"""The metric families that rules and dashboard may count on: name -> labels; `le` marks a histogram."""

from __future__ import annotations

import re

from fastgw.telemetry.families import ALL, Kind

Families = dict[str, frozenset[str]]


def exported() -> Families:
    """What the code has; tests/wire/test_metrics.py compares it with what a gateway exports."""
    ends = {Kind.COUNTER: "_total"}
    return {
        one.name + ends.get(one.kind, ""): frozenset(one.labels) | ({"le"} if one.kind is Kind.HISTOGRAM else set())
        for one in ALL
    }


def families(text: str) -> Families:
    """Of words like `name{label,label}`."""
    found = (re.fullmatch(r"(\w+)(?:\{([\w,]+)\})?", word) for word in text.split())
    return {one[1]: frozenset((one[2] or "").split(",")) - {""} for one in found if one}


def scraped(text: str) -> Families:
    """The families of an exposition (text format or OpenMetrics), with the labels that its samples have.

    A family that has a TYPE but no sample yet is there, with no labels that are known.
    """
    made: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if declared := re.match(r"# TYPE (\w+) (\w+)", line):
            name, kind = declared.groups()
            name += "_total" if kind == "counter" and not name.endswith("_total") else ""
            kinds[name] = kind
            made.setdefault(name, {"le"} if kind == "histogram" else set())
        elif sample := re.match(r'(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? ', line):
            family = re.sub(r"_(bucket|sum|count)$", "", sample[1])
            name = family if kinds.get(family) == "histogram" else sample[1]
            labels = re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', sample[2] or "")
            made.setdefault(name, set()).update(labels)
    return {name: frozenset(labels) for name, labels in made.items() if not name.endswith("_created")}
