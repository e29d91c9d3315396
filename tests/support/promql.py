"""Reads a PromQL expression and says which labels its result has, as far as families and labels are concerned.

It follows Prometheus's grammar (precedence, vector matching) and objects to what Prometheus takes without a word and
answers with nothing: a metric nobody exports, a label the metric does not have, two sides that can never match. Syntax
and types are promtool's to check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Labels = frozenset[str]
TARGET: Labels = frozenset({"job", "instance"})
"""Prometheus gives them to all that it scrapes."""
FOREIGN = {"up": TARGET}
"""Series that Prometheus makes itself."""

TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<range>\[[^\]]+\])|(?P<number>\d[\w.]*)"""
    r"""|(?P<name>[a-zA-Z_:][\w:]*)|(?P<sign>=~|!~|!=|>=|<=|==|[-+*/%^<>=(){},]))"""
)
BINDING = [
    {"or"},
    {"and", "unless"},
    {"==", "!=", ">", "<", ">=", "<="},
    {"+", "-"},
    {"*", "/", "%"},
    {"^"},
]
AGGREGATIONS = {"sum", "min", "max", "avg", "count", "stddev", "stdvar", "group", "quantile"}
PICKS = {"topk", "bottomk"}
"""Aggregations that leave the labels as they are."""


class WrongExpression(AssertionError):
    """An expression that asks for what is not there."""


def labels_of(text: str, families: Mapping[str, Labels], recorded: Mapping[str, Labels] | None = None) -> Labels | None:
    """The labels of the result; None if it is a number."""
    return Reader(text, families, recorded or {}).all()


def metrics_of(text: str, families: Mapping[str, Labels], recorded: Mapping[str, Labels] | None = None) -> set[str]:
    """The families (and recorded series) that the expression reads."""
    reader = Reader(text, families, recorded or {})
    reader.all()
    return reader.used


class Reader:
    """One pass over the tokens. Each method reads one kind of thing and returns its labels."""

    def __init__(self, text: str, families: Mapping[str, Labels], recorded: Mapping[str, Labels]) -> None:
        self.text = text
        self.tokens = list(self._split(text))
        self.at = 0
        self.families = families
        self.recorded = recorded
        self.used: set[str] = set()

    def _split(self, text: str):
        at = 0
        while text[at:].strip():
            found = TOKEN.match(text, at)
            if found is None:
                raise WrongExpression(f"can't read {text[at:]!r} in {text}")
            at = found.end()
            yield found.lastgroup, found[found.lastgroup]

    def fail(self, why: str) -> WrongExpression:
        return WrongExpression(f"{why}, in: {self.text}")

    @property
    def next(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        word = self.next
        if not word or (wanted and word != wanted):
            raise self.fail(f"{wanted or 'something'} expected, not {word or 'the end'}")
        self.at += 1
        return word

    def maybe(self, *words: str) -> str:
        return self.take() if self.next in words else ""

    def all(self) -> Labels | None:
        labels = self.binary(0)
        if self.next:
            raise self.fail(f"{self.next} is left over")
        return labels

    def binary(self, level: int) -> Labels | None:
        if level == len(BINDING):
            return self.unary()
        left = self.binary(level + 1)
        while self.next in BINDING[level]:
            operator = self.take()
            self.maybe("bool")
            matching = self.matching()
            right = self.binary(level + 1)
            left = self.matched(operator, left, right, matching)
        return left

    def matching(self) -> tuple[str, Labels, str]:
        how = self.maybe("on", "ignoring")
        labels = self.names() if how else frozenset()
        group = self.maybe("group_left", "group_right")
        if group and self.next == "(":
            self.names()
        return how, labels, group

    def matched(
        self, operator: str, left: Labels | None, right: Labels | None, matching: tuple[str, Labels, str]
    ) -> Labels | None:
        how, named, group = matching
        if left is None or right is None:
            return right if left is None else left
        if how == "on" and not (named <= left and named <= right):
            raise self.fail(f"on ({', '.join(sorted(named))}) asks for labels that a side lacks")
        if operator == "or":
            return left | right
        if not how and left != right:
            raise self.fail(f"the sides of {operator} never match: {sorted(left)} and {sorted(right)}")
        if how == "ignoring" and left - named != right - named:
            raise self.fail(f"the sides of {operator} never match even so: {sorted(left)} and {sorted(right)}")
        if operator in {"and", "unless"} or group == "group_left":
            return left
        if group == "group_right":
            return right
        return named if how == "on" else left - named

    def unary(self) -> Labels | None:
        self.maybe("-", "+")
        labels = self.primary()
        while self.tokens[self.at : self.at + 1] and (self.tokens[self.at][0] == "range" or self.next == "offset"):
            if self.take() == "offset":
                self.maybe("-")
                self.take()
        return labels

    def primary(self) -> Labels | None:
        kind, word = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if word == "(":
            return self.parenthesis()
        self.take()
        if kind in {"number", "string"}:
            return None
        if kind == "sign" and word != "{":
            raise self.fail(f"{word} is unexpected")
        if word in AGGREGATIONS:
            return self.aggregation()
        if word in PICKS:
            return self.arguments()
        return self.function(word) if self.next == "(" else self.selector(word)

    def parenthesis(self) -> Labels | None:
        self.take("(")
        labels = self.binary(0)
        self.take(")")
        return labels

    def arguments(self) -> Labels | None:
        """Those of the argument that is a vector."""
        labels: Labels | None = None
        self.take("(")
        while self.next != ")":
            one = self.binary(0)
            labels = labels if one is None else one
            self.maybe(",")
        self.take(")")
        return labels

    def function(self, name: str) -> Labels | None:
        begins = self.at
        labels = self.arguments()
        if name == "vector":
            return frozenset()
        if name == "histogram_quantile":
            if labels is None or "le" not in labels:
                raise self.fail("histogram_quantile needs le")
            return labels - {"le"}
        if name == "absent":
            words = [word for _, word in self.tokens[begins : self.at]]
            return frozenset(words[i - 1] for i, word in enumerate(words) if word == "=")
        return labels

    def aggregation(self) -> Labels:
        how = self.maybe("by", "without")
        named = self.names() if how else frozenset()
        labels = self.arguments()
        if not how and (how := self.maybe("by", "without")):
            named = self.names()
        if labels is None or not named <= labels:
            raise self.fail(f"{how} names labels that are not there: {sorted(named - (labels or frozenset()))}")
        return labels - named if how == "without" else named

    def names(self) -> Labels:
        """A list of labels in parentheses."""
        made = []
        self.take("(")
        while self.next != ")":
            made.append(self.take())
            self.maybe(",")
        self.take(")")
        return frozenset(made)

    def selector(self, name: str) -> Labels:
        labels = self.labels_of_metric(name)
        if self.maybe("{"):
            while self.next != "}":
                label = self.take()
                if label not in labels:
                    raise self.fail(f"{name} has no label {label}")
                self.take()
                self.take()
                self.maybe(",")
            self.take("}")
        return labels

    def labels_of_metric(self, name: str) -> Labels:
        if name in self.recorded or name in FOREIGN:
            self.used.add(name)
            return self.recorded[name] if name in self.recorded else FOREIGN[name]
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        if family != name and "le" in self.families.get(family, ()):
            self.used.add(family)
            return (self.families[family] | TARGET) - (set() if name.endswith("_bucket") else {"le"})
        if name not in self.families or "le" in self.families[name]:
            raise self.fail(f"nobody exports {name}")
        self.used.add(name)
        return self.families[name] | TARGET
