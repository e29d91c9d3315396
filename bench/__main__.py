"""`python -m bench [QUESTION ...] [--against PEER ...]`: ask, print, keep.

Tables go to stdout, progress to stderr. Exit status: 0 all budgets met by their medians (or --no-verdict), 1 one is
missed, 2 used wrongly, 3 fastgw could not be measured (also if the bench itself fails: what was answered is kept).
"""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console

from bench.asking import BUDGETED, QUESTIONS, Asked, Asking
from bench.harness import environment
from bench.harness.cores import assign
from bench.harness.load import LoadError, find_generator
from bench.harness.process import StartError
from bench.harness.store import TCP, WAYS
from bench.peers.direct import Direct
from bench.peers.envoy import Envoy
from bench.peers.fastgw import Fastgw, FastgwChain
from bench.peers.httpx_naive import HttpxNaive
from bench.peers.nginx import Nginx
from bench.peers.nginx_lua import NginxLua
from bench.questions.knobs import KNOBS
from bench.report import history, kept
from bench.report.files import HISTORY, TEXT_WIDTH, write_pictures, write_run
from bench.report.progress import Progress
from bench.report.table import print_history, print_run
from bench.report.verdict import Status, status

if TYPE_CHECKING:
    from bench.harness.process import Peer

PEERS: tuple[Peer, ...] = (Direct(), Fastgw(), Nginx(), Envoy(), HttpxNaive())
CHAIN_PEERS: tuple[Peer, ...] = (FastgwChain(), NginxLua())
OURS = ("fastgw", "fastgw_chain")
ALWAYS = ("direct", *OURS)
NAMES = tuple(peer.name for peer in (*PEERS, *CHAIN_PEERS))
RESULTS = Path(__file__).parent / "results"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("questions", nargs=-1, type=click.Choice(QUESTIONS))
@click.option("--against", multiple=True, type=click.Choice([name for name in NAMES if name not in ALWAYS]))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=4, show_default=True, type=click.IntRange(1, 600), help="per peer, load, round")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 4096), help="but for overhead_c1")
@click.option("--streams", default=2000, show_default=True, type=click.IntRange(1, 20000), help="of streams_memory")
@click.option(
    "--many-streams", default=10_000, show_default=True, type=click.IntRange(1, 20000), help="of streams_many"
)
@click.option("--soak-requests", default=1_000_000, show_default=True, type=click.IntRange(1), help="of soak")
@click.option("--knob", multiple=True, type=click.Choice([knob.name for knob in KNOBS]), help="of tuning; default: all")
@click.option("--stream-seconds", default=10, show_default=True, type=click.IntRange(1, 2000), help="per body")
@click.option("--redis", default=TCP, show_default=True, type=click.Choice(WAYS), help="of chain_cost and hit_cost")
@click.option("--redis-clients", default=1_000_000, show_default=True, type=click.IntRange(1), help="of redis_cost")
@click.option("--redis-entries", default=100_000, show_default=True, type=click.IntRange(10), help="of redis_cost")
@click.option("--output", default=RESULTS, type=click.Path(path_type=Path, file_okay=False), help="where results go")
@click.option("--no-verdict", is_flag=True, help="a missed budget is printed, but is no failure")
@click.option("--history", "only_history", is_flag=True, help="measure nothing: print how figures went from run to run")
@click.option("--keep", is_flag=True, help="keep the figures for tuning.md and README: results/kept")
def main(
    questions: tuple[str, ...], output: Path, no_verdict: bool, only_history: bool, keep: bool, **options: Any
) -> None:
    """Measure fastgw against its peers, each on one core: all QUESTIONS with a budget, unless some are named."""
    if only_history:
        _show_history(output / HISTORY, questions)
        return
    signal.signal(signal.SIGTERM, _terminated)
    wanted = {*ALWAYS, *(options.pop("against") or NAMES)}
    missing: dict[str, str] = {}
    asked = Asked(
        questions=questions or BUDGETED,
        peers=_usable(PEERS, wanted, missing),
        chain_peers=_usable(CHAIN_PEERS, wanted, missing),
        cores=assign(),
        generator=find_generator(),
        **options,
    )
    described = environment.describe()
    with Progress(asked.slots) as progress:
        asking = Asking(asked, missing, progress.told)
        failed = _run(asking)
    if asking.answers:
        failed |= _report(asking, described, output)
        if keep:
            click.echo(f"written: {_short(kept.keep(output, described, asking.method, asking.answers))}")
    sys.exit(Status.UNMEASURED if failed else status(asking.answers, asking.left_out, judged=not no_verdict))


def _run(asking: Asking) -> bool:
    """Whether it failed before all was asked; why goes to stderr. A peer's failure is caught where it is measured."""
    try:
        asking.run()
    except (StartError, LoadError) as error:
        click.echo(f"Error: {error}", err=True)
        return True
    except Exception:
        traceback.print_exc()
        return True
    except KeyboardInterrupt:
        sys.exit(130)  # click's own would be 1, which is a verdict here
    return False


def _report(asking: Asking, described: dict[str, Any], output: Path) -> bool:
    """Keep, print, draw. Whether drawing failed; why goes to stderr."""
    run = (described, asking.method, asking.answers)
    written: list[Path | str] = [*write_run(output, *run)]
    print_run(_console(), *run)
    failed = False
    try:
        written += write_pictures(output, *run)
    except Exception:
        traceback.print_exc()
        failed = True
    for one in written:
        click.echo(one if isinstance(one, str) else f"written: {_short(one)}")
    return failed


def _show_history(path: Path, questions: tuple[str, ...]) -> None:
    found = history.read(path)
    if not found.runs:
        click.echo(f"no runs are kept in {_short(path)}", err=True)
    print_history(_console(), found, questions)


def _usable(peers: tuple[Peer, ...], wanted: set[str], missing: dict[str, str]) -> tuple[Peer, ...]:
    """Those that are wanted and installed; why the others are not goes to `missing`."""
    chosen = [peer for peer in peers if peer.name in wanted]
    missing |= {peer.name: reason for peer in chosen if (reason := peer.missing()) is not None}
    return tuple(peer for peer in chosen if peer.name not in missing)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=TEXT_WIDTH)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    """SIGTERM leaves through the same `finally`s as Ctrl-C, so every peer is stopped."""
    sys.exit(143)


if __name__ == "__main__":
    main()
