"""Draws docs/images/request-path.svg, the picture of a request's path. `make docs`.

The steps are those of gateway.py's docstring, in its order; what is written beside each stands here. A step without a
word here ends the drawing, and tests/house compares picture, README and code. The colours are readable on white and on
black, as a page of GitHub may be either.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Final, NamedTuple

import fastgw.gateway

FILE: Final = Path(__file__).parent.parent / "docs" / "images" / "request-path.svg"


class Words(NamedTuple):
    """question: two short lines. early: answers by which the path ends here. below: whom it asks, or tells."""

    question: tuple[str, str]
    early: str = ""
    below: str = ""


STEPS: Final = {
    "accept": Words(("may it be", "passed on?"), "400 413 431"),
    "authenticate": Words(("who", "is it?"), "401 403", "session"),
    "admit": Words(("how often? and", "what is cached?"), "429", "one call"),
    "answer": Words(("known", "already?"), "hit, 304", "fetch lease"),
    "claim": Words(("submitted", "before?"), "replay, 409", "key"),
    "deliver": Words(("which backend", "answers it?"), "502 503 504", "stream"),
    "respond": Words(("what does the", "client get?")),
    "observe": Words(("what became", "of it?"), "", "count"),
}

COLUMN: Final = 118
LEFT: Final = 8
BOX: Final = 106
TOP: Final = 96
HEIGHT: Final = 66
BOTTOM: Final = 214

STYLE: Final = """
text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; text-anchor: middle }
.name { font-size: 13.5px; font-weight: 600; fill: #fff }
.word { font-size: 12px; fill: #fff }
.note { font-size: 12px; fill: #6e7781 }
.start { text-anchor: start }
.line { stroke: #7d8590; stroke-width: 1.6; fill: none }
.dash { stroke-dasharray: 3 3 }
.head { fill: #7d8590 }
@media (prefers-color-scheme: dark) { .note { fill: #9198a1 } }
"""

DEFS: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>'
)


def steps() -> list[str]:
    """The names, as gateway.py has them."""
    found = re.findall(r"^ {4}(\w+(?: -> \w+)+)$", fastgw.gateway.__doc__ or "", re.MULTILINE)
    return [name for line in found for name in line.split(" -> ")]


def picture() -> str:
    """The text of the SVG."""
    names = steps()
    width = LEFT * 2 + COLUMN * (len(names) - 1) + BOX
    title = "The path of a request: " + ", ".join(names)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 262" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        DEFS,
        _box(LEFT, 8, width - 2 * LEFT, 34, "#57606a", "clients"),
    ]
    for number, name in enumerate(names):
        out += _step(number, name, is_last=number == len(names) - 1)
    out += [
        _box(_x(1), BOTTOM, _x(4) + BOX - _x(1), 34, "#a4342a", "Redis, the platform's own"),
        _box(_x(5), BOTTOM, _x(6) + BOX - _x(5), 34, "#0b6e66", "FastAPI, GPU workers"),
        _box(_x(7), BOTTOM, BOX, 34, "#6941c6", "telemetry"),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _x(column: int) -> int:
    return LEFT + COLUMN * column


def _box(x: int, y: int, width: int, height: int, colour: str, text: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colour}"/>'
        f'<text class="name" x="{x + width // 2}" y="{y + height // 2 + 5}">{escape(text)}</text>'
    )


def _step(number: int, name: str, *, is_last: bool) -> list[str]:
    words, x = STEPS[name], _x(number)
    middle = x + BOX // 2
    out = [
        f'<g class="step"><rect x="{x}" y="{TOP}" width="{BOX}" height="{HEIGHT}" rx="6" fill="#1f6feb"/>',
        f'<text class="name" x="{middle}" y="{TOP + 22}">{escape(name)}</text>',
        *(
            f'<text class="word" x="{middle}" y="{TOP + 41 + 15 * row}">{escape(line)}</text>'
            for row, line in enumerate(words.question)
        ),
        "</g>",
    ]
    if not is_last:
        out.append(_line(x + BOX, TOP + HEIGHT // 2, x + COLUMN, TOP + HEIGHT // 2))
    if name == "accept":
        out.append(_line(middle - 34, 42, middle - 34, TOP))
    if name == "respond":
        out.append(_line(middle, TOP, middle, 42))
    if words.early:
        aside = middle + 12 if name == "accept" else middle
        out += [
            f'<text class="note" x="{aside}" y="{TOP - 32}">{escape(words.early)}</text>',
            _line(aside, TOP, aside, TOP - 25, "line dash"),
        ]
    if words.below:
        out += [
            _line(middle, TOP + HEIGHT, middle, BOTTOM - 2, both=name != "observe"),
            f'<text class="note start" x="{middle + 6}" y="{BOTTOM - 22}">{escape(words.below)}</text>',
        ]
    return out


def _line(x1: int, y1: int, x2: int, y2: int, kind: str = "line", *, both: bool = False) -> str:
    start = ' marker-start="url(#tip)"' if both else ""
    return f'<path class="{kind}" d="M{x1} {y1} {x2} {y2}" marker-end="url(#tip)"{start}/>'


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
    print(f"wrote {FILE.name}")
