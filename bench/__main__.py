"""`python -m bench [QUESTION ...] [--against PEER ...]`: ask, print, keep.

Tables go to stdout, progress to stderr. Exit status: 0 measured, 1 fastgw could not be measured, 2 used wrongly.
A missed budget is printed, not a failure: times on shared machines decide nothing by themselves.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console

from bench.backends.static import running_static
from bench.backends.streams import running_streams
from bench.harness import environment, rounds
from bench.harness.cores import Cores, assign
from bench.harness.load import Generator, find_generator
from bench.harness.process import StartError
from bench.peers.direct import Direct
from bench.peers.envoy import Envoy
from bench.peers.fastgw import Fastgw
from bench.peers.httpx_naive import HttpxNaive
from bench.peers.nginx import Nginx
from bench.questions import forwarding_cost, overhead_c1, streams_memory
from bench.report.files import TEXT_WIDTH, write_plot, write_run
from bench.report.progress import Progress
from bench.report.table import print_answer, print_environment

if TYPE_CHECKING:
    from bench.harness.process import Peer
    from bench.harness.rounds import Sample
    from bench.report.answer import Answer

ALL_PEERS: tuple[Peer, ...] = (Direct(), Fastgw(), Nginx(), Envoy(), HttpxNaive())
ALWAYS = ("direct", "fastgw")
QUESTIONS = (forwarding_cost.NAME, overhead_c1.NAME, streams_memory.NAME)
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Asked:
    """The command line, checked."""

    questions: tuple[str, ...]
    peers: tuple[Peer, ...]
    rounds: int
    seconds: int
    connections: int
    streams: int
    stream_seconds: int
    cores: Cores
    generator: Generator


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("questions", nargs=-1, type=click.Choice(QUESTIONS))
@click.option("--against", multiple=True, type=click.Choice([p.name for p in ALL_PEERS if p.name not in ALWAYS]))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--seconds", default=4, show_default=True, type=click.IntRange(1, 600), help="per peer, question, round")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 4096), help="of forwarding_cost")
@click.option("--streams", default=2000, show_default=True, type=click.IntRange(1, 20000), help="of streams_memory")
@click.option("--stream-seconds", default=10, show_default=True, type=click.IntRange(1, 2000), help="per body")
@click.option("--output", default=RESULTS, type=click.Path(path_type=Path, file_okay=False), help="where results go")
def main(questions: tuple[str, ...], against: tuple[str, ...], output: Path, **numbers: int) -> None:
    """Measure fastgw against its peers, each on one core: all QUESTIONS, all peers, unless some are named."""
    signal.signal(signal.SIGTERM, _terminated)
    wanted = {*ALWAYS, *(against or (peer.name for peer in ALL_PEERS))}
    peers = tuple(peer for peer in ALL_PEERS if peer.name in wanted)
    left_out = {peer.name: reason for peer in peers if (reason := peer.missing()) is not None}
    asked = Asked(
        questions=questions or QUESTIONS,
        peers=tuple(peer for peer in peers if peer.name not in left_out),
        cores=assign(),
        generator=find_generator(),
        **numbers,
    )
    described = environment.describe()
    with Progress(_slots(asked)) as progress:
        try:
            answers, samples, method = _ask(asked, left_out, progress)
        except StartError as failed:  # a peer's failure is caught where it is measured: this is a backend's
            raise click.ClickException(str(failed)) from failed
    _show(described, method, answers)
    for path in write_run(output, described, method, answers):
        click.echo(f"written: {_short(path)}")
    caption = f"{described['cpu']}; {described['commit']}; {described['time']}; dots: rounds, diamonds: their median"
    if samples:
        plot = write_plot(output, samples, caption)
        click.echo(plot if isinstance(plot, str) else f"written: {_short(plot)}")
    if "fastgw" in method["left_out"]:
        sys.exit(1)


def _slots(asked: Asked) -> int:
    forwarding = asked.rounds * len(asked.peers) if {forwarding_cost.NAME, overhead_c1.NAME} & {*asked.questions} else 0
    streaming = len(streams_memory.PARTS) * (len(asked.peers) - 1) if streams_memory.NAME in asked.questions else 0
    return forwarding + streaming


def _ask(
    asked: Asked, left_out: dict[str, str], progress: Progress
) -> tuple[list[Answer], dict[str, dict[str, list[Sample]]], dict[str, Any]]:
    """forwarding_cost and overhead_c1 share their rounds: a peer is started once for both."""
    connections = {forwarding_cost.NAME: asked.connections, overhead_c1.NAME: 1}
    shared = {question: connections[question] for question in connections if question in asked.questions}
    backends: list[str] = []
    answers: list[Answer] = []
    samples: dict[str, dict[str, list[Sample]]] = {}
    left_out = dict(left_out)
    if shared:
        plan = rounds.Plan(shared, asked.peers, asked.rounds, asked.seconds, asked.cores, asked.generator)
        with running_static(asked.cores.backend) as backend:
            backends.append(f"{backend.name} (200 bytes of JSON), the same for all peers")
            outcome = rounds.measure(plan, backend, progress.told)
        samples = outcome.samples
        left_out.update(outcome.left_out)
        tell = {forwarding_cost.NAME: forwarding_cost.answer, overhead_c1.NAME: overhead_c1.answer}
        answers += [tell[question](samples[question]) for question in shared]
    if streams_memory.NAME in asked.questions:
        answers.append(_streams(asked, left_out, backends, progress))
    method = {
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "connections": asked.connections,
        "cores": asked.cores.described,
        "load": asked.generator.described,
        "backend": "; ".join(backends),
        "peers": {peer.name: peer.version() for peer in asked.peers if peer.name not in left_out},
        "left_out": left_out,
    }
    return answers, samples, method


def _streams(asked: Asked, left_out: dict[str, str], backends: list[str], progress: Progress) -> Answer:
    peers = tuple(peer for peer in asked.peers if peer.name != "direct" and peer.name not in left_out)
    plan = streams_memory.Plan(peers, asked.stream_seconds, asked.streams, asked.cores, asked.generator)
    with running_streams(asked.cores.backend) as backend:
        backends.append("asyncio streams on uvloop for long bodies")
        outcome = streams_memory.measure(plan, backend, progress.told)
    left_out.update(outcome.left_out)
    return streams_memory.answer(outcome.figures)


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
