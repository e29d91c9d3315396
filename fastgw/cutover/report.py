"""What a comparison found, as data and as a page in one file: no script, nothing loaded, plots as inline SVG. Pure.

No header of a request is in it, and no body beyond the places that differ; queries that may hold secrets are masked.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fastgw import __version__
from fastgw.cutover.diagnose import lateness
from fastgw.cutover.latency import added
from fastgw.telemetry.redact import target as redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastgw.cutover.compare import Outcome
    from fastgw.cutover.latency import Quantile
    from fastgw.cutover.recordings import Recording

MAX_LISTED: Final = 100
"""Rows of a table in the page."""

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;"
    "background:#fff}table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;"
    "padding:.3rem .5rem;border-bottom:1px solid #d8dee4;vertical-align:top;overflow-wrap:break-word}"
    ".pass{color:#116329}.fail{color:#a40e26}"
    "svg{width:100%;height:auto;background:#f6f8fa;margin:.5rem 0}svg text{font:11px system-ui,sans-serif;fill:#57606a}"
)


def summary(
    outcome: Outcome, recording: Recording, urls: tuple[str, str], budget_ms: tuple[float, float]
) -> dict[str, Any]:
    """Everything as JSON values: {passed, verdicts, latency, differences, moving, skipped, ...}.

    urls: of the server and the gateway. budget_ms: for p50 and p99.
    """
    verdicts = [_same(outcome)]
    latency: dict[str, Any] | None = None
    if outcome.pairs:
        direct, gateway = [one.direct for one in outcome.pairs], [one.gateway for one in outcome.pairs]
        measured = added(direct, gateway)
        verdicts += [_verdict(*one) for one in lateness(measured, outcome.pairs, *budget_ms)]
        latency = {
            "pairs": len(outcome.pairs),
            "slower_through_gateway": measured.slower,
            "from_cache": sum(one.is_cached for one in outcome.pairs),
            "added_ms": {"p50": _interval(measured.p50), "p99": _interval(measured.p99)},
            "direct_ms": direct,
            "gateway_ms": gateway,
        }
    else:
        verdicts.append(_verdict(False, "no pair could be timed", "see the differences; there must be equal answers"))
    if outcome.stopped:
        hint = "" if outcome.asked else "give a credential with a limit of its own, or raise RATE_LIMIT_MAX_REQUESTS"
        verdicts.append(_verdict(False, f"stopped early: {outcome.stopped}", hint))
    return {
        "passed": all(one["passed"] for one in verdicts),
        "version": __version__,
        "direct": shown_url(urls[0]),
        "gateway": shown_url(urls[1]),
        "requests": len(recording.requests),
        "asked": outcome.asked,
        "unanswered": outcome.unanswered,
        "waited_seconds": outcome.waited_s,
        "verdicts": verdicts,
        "latency": latency,
        "differences": [_finding(one) for one in outcome.findings],
        "moving": [{"request": _target(key[0]), "where": key[1], "times": n} for key, n in outcome.moving.items()],
        "skipped": [{"request": _target(key[0]), "reason": key[1], "times": n} for key, n in recording.skipped.items()],
        "unread_lines": recording.unread_lines,
        "cautions": [],
    }


def _same(outcome: Outcome) -> dict[str, Any]:
    times = sum(one.times for one in outcome.findings)
    if not outcome.asked:
        return _verdict(False, "nothing was asked", "")
    if outcome.unanswered == outcome.asked:
        return _verdict(False, f"nothing was compared: to none of {outcome.asked} pairs a side gave an answer", "")
    if not times:
        none = f"; to {outcome.unanswered} neither side gave one, see the server's log" if outcome.unanswered else ""
        return _verdict(True, f"the same answers: all of {outcome.asked} pairs{none}", "")
    kinds = {"error": "errors", "status": "status codes", "field": "header fields", "body": "bodies"}
    which = ", ".join(word for kind, word in kinds.items() if any(f.difference.kind == kind for f in outcome.findings))
    hints = " | ".join(dict.fromkeys(one.hint for one in outcome.findings))
    return _verdict(False, f"{times} differences in {outcome.asked} pairs: {which}", hints)


def _verdict(is_passed: bool, text: str, hint: str) -> dict[str, Any]:
    return {"passed": is_passed, "text": text, "hint": hint}


def _finding(one: Any) -> dict[str, Any]:
    found = one.difference
    return {
        "request": _target(f"{one.request.method} {one.request.target}"),
        "kind": found.kind,
        "where": found.where,
        "direct": found.direct,
        "gateway": found.gateway,
        "times": one.times,
        "hint": one.hint,
    }


def _interval(found: Quantile) -> dict[str, float | None]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _target(text: str) -> str:
    """`METHOD target` with the secrets of its query masked."""
    path, mark, query = text.partition("?")
    return redacted(path.encode(), query.encode() if mark else b"")


def shown_url(url: str) -> str:
    """An address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def page(content: dict[str, Any]) -> str:
    """The HTML page of a summary."""
    word = "passed" if content["passed"] else "failed"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>fastgw compare: {word}</title><style>{_STYLE}</style>",
        f"<h1>fastgw compare: <span class={word[:4]}>{word}</span></h1>",
        f"<p>Server {escape(content['direct'])}, gateway {escape(content['gateway'])};",
        f"{content['asked']} pairs of {content['requests']} different requests, fastgw {content['version']}.</p><ul>",
    ]
    parts += [f"<li><b class=fail>caution</b> {escape(one)}" for one in content["cautions"]]
    for one in content["verdicts"]:
        mark = "pass" if one["passed"] else "fail"
        hint = f"<br>{escape(one['hint'])}" if one["hint"] else ""
        parts.append(f"<li><b class={mark}>{mark}</b> {escape(one['text'])}{hint}")
    parts.append("</ul>")
    if content["latency"]:
        parts += _plots(content["latency"])
    columns = {
        "differences": ("request", "kind", "where", "direct", "gateway", "times", "hint"),
        "moving": ("request", "where", "times"),
        "skipped": ("request", "reason", "times"),
    }
    titles = {
        "differences": "Differences",
        "moving": "What the server itself answers differently each time (not counted)",
        "skipped": "Not sent",
    }
    parts += [_table(titles[name], columns[name], content[name]) for name in columns if content[name]]
    return "\n".join(parts) + "\n</html>\n"


def _table(title: str, columns: Sequence[str], rows: list[dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}" for name in columns)
    lines = ["".join(f"<td>{escape(str(row[name]))}" for name in columns) for row in rows[:MAX_LISTED]]
    more = f"<p>and {len(rows) - MAX_LISTED} more, see --json</p>" if len(rows) > MAX_LISTED else ""
    return f"<h2>{escape(title)}</h2><table><tr>{head}<tr>{'<tr>'.join(lines)}</table>{more}"


def _plots(latency: dict[str, Any]) -> list[str]:
    direct, gateway = sorted(latency["direct_ms"]), sorted(latency["gateway_ms"])
    differences = [b - a for a, b in zip(latency["direct_ms"], latency["gateway_ms"], strict=True)]
    cached = f" {latency['from_cache']} of them came from the cache." if latency["from_cache"] else ""
    return [
        f"<h2>Latency</h2><p>{latency['pairs']} pairs.{cached} Below: how many requests were done after so many ms,",
        "directly (blue) and through the gateway (orange).</p>",
        _cumulative((("#0969da", direct), ("#bc4c00", gateway))),
        "<p>What each pair lost through the gateway, ms, in the order in which they were asked;",
        "one in a hundred at either end lies at the edge.</p>",
        _sequence(differences),
    ]


_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 760, 220, 44, 24


def _cumulative(curves: Sequence[tuple[str, list[float]]]) -> str:
    """Shares over ms, up to a little beyond the larger p99: outliers are in the JSON."""
    top = max(values[max(int(len(values) * 0.99) - 1, 0)] for _, values in curves) * 1.1 or 1.0

    def x(value: float) -> float:
        return _LEFT + min(value / top, 1.0) * (_WIDTH - _LEFT - 10)

    lines = []
    for color, values in curves:
        step = (_HEIGHT - _BOTTOM - 10) / len(values)
        points = " ".join(f"{x(v):.1f},{_HEIGHT - _BOTTOM - step * n:.1f}" for n, v in enumerate(values, 1) if v <= top)
        lines.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{points}"/>')
    labels = [_label(x(top * n / 4), _HEIGHT - 8, f"{top * n / 4:.2f} ms") for n in range(4)]
    labels += [_label(4, _height(share, 0, 1), f"{share:.0%}") for share in (0.0, 0.5, 1.0)]
    return _svg(lines + labels, "shares of the requests over milliseconds")


def _sequence(values: list[float]) -> str:
    ordered, edge = sorted(values), len(values) // 100
    low, high = min(ordered[edge], 0.0), max(ordered[-1 - edge], 0.1)
    step = (_WIDTH - _LEFT - 10) / len(values)
    heights = [_height(min(max(value, low), high), low, high) for value in values]
    dots = [f'<circle cx="{_LEFT + step * n:.1f}" cy="{y:.1f}" r="1.6" fill="#8250df"/>' for n, y in enumerate(heights)]
    zero = _height(0, low, high)
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="#57606a"/>'
    labels = [_label(4, _height(v, low, high), f"{v:.2f}") for v in (low, 0.0, high)]
    return _svg([line, *dots, *labels], "added milliseconds of each pair")


def _height(value: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - 10)


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _svg(parts: list[str], title: str) -> str:
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(parts)}</svg>'
