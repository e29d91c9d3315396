"""`python -m bench [QUESTION ...] [--against PEER ...]`: ask, print, keep.

Tables go to stdout, progress to stderr. Exit status: 0 measured, 1 fastgw could not be measured, 2 used wrongly.
A missed budget is printed, not a failure: times on shared machines decide nothing by themselves.
"""

from __future__ import annotations

import signal
import sys
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
from bench.report.files import TEXT_WIDTH, write_plots, write_run
from bench.report.progress import Progress
from bench.report.table import print_answer, print_environment

if TYPE_CHECKING:
    from bench.harness.process import Peer
    from bench.report.answer import Answer

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
def main(questions: tuple[str, ...], against: tuple[str, ...], output: Path, **options: Any) -> None:
    """Measure fastgw against its peers, each on one core: all QUESTIONS with a budget, unless some are named."""
    signal.signal(signal.SIGTERM, _terminated)
    wanted = {*ALWAYS, *(against or NAMES)}
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
        try:
            asking.run()
        except (
            StartError,
            LoadError,
        ) as failed:  # a peer's failure is caught where it is measured: this is a backend's
            raise click.ClickException(str(failed)) from failed
    _show(described, asking.method, asking.answers)
    for path in write_run(output, described, asking.method, asking.answers):
        click.echo(f"written: {_short(path)}")
    caption = f"{described['cpu']}; {described['commit']}; {described['time']}; dots: rounds, diamonds: their median"
    for plot in write_plots(output, asking.forwarding, asking.chain, caption):
        click.echo(plot if isinstance(plot, str) else f"written: {_short(plot)}")
    if asking.left_out.keys() & {*OURS}:
        sys.exit(1)


def _usable(peers: tuple[Peer, ...], wanted: set[str], missing: dict[str, str]) -> tuple[Peer, ...]:
    """Those that are wanted and installed; why the others are not goes to `missing`."""
    chosen = [peer for peer in peers if peer.name in wanted]
    missing |= {peer.name: reason for peer in chosen if (reason := peer.missing()) is not None}
    return tuple(peer for peer in chosen if peer.name not in missing)


def _show(described: dict[str, Any], method: dict[str, Any], answers: list[Answer]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=TEXT_WIDTH)
    print_environment(console, described, method)
    for answer in answers:
        print_answer(console, answer)


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
