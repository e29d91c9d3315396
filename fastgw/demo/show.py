"""What the demo shows: steps as they come up (stderr), then addresses and the guide's curl lines (stdout)."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape

from fastgw.demo.crew import DEMO_TOKEN

_WIDTH: Final = 14
_JOB: Final = '{"type": "llm", "params": {"prompt": "Hello"}}'


class Show:
    """Rich on a terminal, plain lines elsewhere. Colour follows NO_COLOR."""

    def __init__(self) -> None:
        self._progress = Console(stderr=True, highlight=False, soft_wrap=True)
        self._output = Console(highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Show that something is being started; what is yielded is called with its address when it is up."""
        start = time.monotonic()

        def ready(address: str) -> None:
            took = time.monotonic() - start
            mark = "[green]✓[/] " if self._progress.is_terminal else ""
            self._progress.print(f"{mark}[bold]{name:<{_WIDTH}}[/]{escape(address)} [dim]({took:.1f} s)[/]")

        if self._progress.is_terminal:
            with self._progress.status(f"starting: {name}"):
                yield ready
        else:
            yield ready

    def note(self, line: str) -> None:
        """Show a line about what goes on."""
        self._progress.print(f"[dim]{escape(line)}[/]")

    def addresses(self, gateway: str, backend: str, redis: str) -> None:
        """Show where everything is, and what to try: the guide's steps 2 to 4, then a job."""
        lines = [
            "",
            "[bold]The platform runs, and the gateway answers for it.[/]",
            f"  gateway        {gateway}",
            f"  sample server  {backend}  (/docs, /admin)",
            f"  Redis          {escape(redis)}",
            "",
            "[bold]Step 2: verify connectivity[/] (the last two answer the same)",
            f"  curl {gateway}/gateway/health",
            f"  curl {gateway}/api/v1/queue/stats",
            f"  curl {backend}/api/v1/queue/stats",
            "[bold]Step 3: verify token compatibility[/]",
            f'  curl -H "X-Worker-Token: {DEMO_TOKEN}" {gateway}/api/v1/jobs',
            "[bold]Step 4: verify worker status[/]",
            f"  curl {gateway}/api/v1/workers",
            f"  {escape(_command())} workers --url {gateway}",
            "[bold]Beyond the guide: what the cache and the rate limit say[/] (ask twice: MISS, then HIT)",
            f"  curl -sD- -o/dev/null {gateway}/regions | grep -i -e x-gateway-cache -e x-ratelimit",
            "[bold]A job, and what happens to jobs as it happens[/]",
            f"  curl -H 'Content-Type: application/json' -d '{_JOB}' {gateway}/api/v1/jobs/sync",
            f"  curl -N {gateway}/api/v1/events",
            "",
            "Ctrl-C ends all of it.",
        ]
        self._output.print("\n".join(lines))


def _command() -> str:
    """How fastgw is called from this shell: by its name, or by the Python that runs it."""
    return "fastgw" if shutil.which("fastgw") else f"{sys.executable} -m fastgw"
