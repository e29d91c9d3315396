"""`python -m loadtests SCENARIO --host URL`: one scenario, headless, with its thresholds; exit status 0, 1 or Locust's.

Further arguments go to Locust: `--master`, `--worker`, `--processes 4`, `--csv`, `--html`, ...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

HERE = Path(__file__).parent
SCENARIOS = tuple(sorted(path.stem for path in (HERE / "scenarios").glob("*.py") if path.stem != "__init__"))


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.argument("scenario", type=click.Choice(SCENARIOS))
@click.option("--host", default="http://localhost:3000", show_default=True, help="the gateway")
@click.option("--users", default=20, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=30, show_default=True, type=click.IntRange(1))
@click.option("--shape", type=click.Choice(("steps", "spike", "soak")), help="how the number of users changes")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), help="where CSV and HTML go")
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def main(scenario: str, host: str, shape: str | None, results: Path | None, more: tuple[str, ...], **size: int) -> None:
    """Run SCENARIO. Thresholds that are missed are named, and make the exit status 1."""
    users, seconds = size["users"], size["seconds"]
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), "--host", host, "--headless"]
    if not shape:
        command += ["-u", str(users), "-r", str(max(1, users // 2)), "-t", f"{seconds}s"]
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        command += ["--csv", str(results / scenario), "--html", str(results / f"{scenario}.html")]
    told = {
        "LOADTEST_SCENARIO": scenario,
        "LOADTEST_SHAPE": shape or "",
        "LOADTEST_USERS": str(users),
        "LOADTEST_SECONDS": str(seconds),
    }
    environment = {**os.environ, **told}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.parent), environment.get("PYTHONPATH"))))
    sys.stdout.flush()
    # Becomes Locust, so that Ctrl-C and SIGTERM reach it alone: it then ends with its table and its verdict.
    os.execve(sys.executable, [*command, *more], environment)  # noqa: S606 - who calls decides


if __name__ == "__main__":
    main()
