"""/gateway/plugins: the stages that a request passes, and how each is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastgw.respond import json_answer, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastgw.exchange import Exchange

    Stage = Callable[[], dict[str, Any]]


class Plugins:
    """The built-in stages, in the order of a request."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """stages: each tells of itself: {name, enabled, state: "active" | "off" | "degraded", ...}."""
        self._stages = tuple(stages)

    async def show(self, x: Exchange) -> None:
        """GET: {plugins: [...]}, of this process."""
        await respond(x, json_answer(200, {"plugins": self.report()}))

    def report(self) -> list[dict[str, Any]]:
        """What the stages tell."""
        return [stage() for stage in self._stages]
