"""Where does the CPU of a fastgw worker go under load? Needs py-spy: `pip install py-spy`.

    python -m bench.experiments.profile_worker                  # the full chain, a cache miss
    python -m bench.experiments.profile_worker hit_200 --rows 60
    python -m bench.experiments.profile_worker forward          # without the chain

Two tables: functions by the samples that were in them (self), and by those in them or in what they called (total), in
percent of all samples; C functions too where py-spy can unwind them. The samples are kept as collapsed stacks, which
flame graph tools read. Sampling pauses the process: shares are right, requests/s is not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.backends.static import running_static
from bench.harness import chain, proc
from bench.harness.cores import assign
from bench.harness.load import LoadError, find_generator
from bench.harness.process import StartError, running_peer
from bench.harness.rounds import Ask
from bench.harness.store import TCP, WAYS, running_store
from bench.peers.fastgw import Fastgw, FastgwChain

if TYPE_CHECKING:
    from bench.harness.process import Running

FORWARD = "forward"
SAMPLES_PER_S = 400
WARM_UP_S = 1
_LINE = re.compile(r":\d+\)")


@click.command()
@click.argument("load", default="miss_200", type=click.Choice([*chain.PATHS, FORWARD]))
@click.option("--seconds", default=5, show_default=True, type=click.IntRange(1, 600))
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 4096))
@click.option("--redis", default=TCP, show_default=True, type=click.Choice(WAYS))
@click.option("--rows", default=40, show_default=True, type=click.IntRange(1, 1000))
@click.option("--native/--no-native", default=True, show_default=True, help="C functions too")
@click.option("--output", default="profile.collapsed", type=click.Path(path_type=Path, dir_okay=False))
def main(load: str, connections: int, redis: str, rows: int, output: Path, **sampling: int) -> None:
    """Profile one worker under one load."""
    try:
        stacks = _profile(load, connections, redis, sampling)
    except (StartError, LoadError) as failed:
        raise click.ClickException(str(failed)) from failed
    output.write_text(stacks)
    for title, counted in zip(("self", "total"), _counted(stacks), strict=True):
        _print(title, counted, rows)
    click.echo(f"written: {output}")


def _profile(load: str, connections: int, redis: str, sampling: dict[str, int]) -> str:
    """The samples of one worker under load."""
    cores = assign()
    with ExitStack() as stack:
        backend = stack.enter_context(running_static(cores.backend))
        if load == FORWARD:
            ask = Ask(connections)
            target = stack.enter_context(running_peer(Fastgw(), backend, cores.gateway))
        else:
            ask = chain.asked((load,), connections)[load]
            store = stack.enter_context(running_store(cores.backend, redis))
            target = stack.enter_context(running_peer(FastgwChain(), backend, cores.gateway, store))
            chain.check(target)
        request, generator = target.request(ask.path, ask.fields), find_generator()
        idle = _cpu_ns(target)
        generator.run(request, connections, WARM_UP_S, cores.load)
        used = {pid: spent - idle.get(pid, 0) for pid, spent in _cpu_ns(target).items()}
        worker = max(used, key=lambda pid: used[pid])
        seconds = sampling["seconds"] + WARM_UP_S
        loading = threading.Thread(target=generator.run, args=(request, connections, seconds, cores.load))
        loading.start()
        stacks = _sampled(worker, sampling["seconds"], is_native=bool(sampling["native"]))
        loading.join()
    return stacks


def _cpu_ns(target: Running) -> dict[int, int]:
    """CPU time so far of each process of the gateway."""
    assert target.pid is not None
    return {pid: proc.cpu_ns([pid]) for pid in proc.family(target.pid)}


def _sampled(pid: int, seconds: int, *, is_native: bool) -> str:
    """Collapsed stacks: `outermost;...;innermost COUNT` a line."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if program is None:
        raise click.ClickException("py-spy is not installed; run: pip install py-spy")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stacks"
        how = ("--rate", str(SAMPLES_PER_S), "--duration", str(seconds), *(("--native",) if is_native else ()))
        arguments = ("record", "--format", "raw", "--output", str(path), "--pid", str(pid), *how)
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        if not path.exists():
            raise click.ClickException(f"py-spy failed: {done.stderr[-400:]}")
        return path.read_text()


def _counted(stacks: str) -> tuple[Counter[str], Counter[str]]:
    """Samples by function: self, total. Lines within a function are taken together."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in {*frames}:
            total[frame] += int(count)
    return own, total


def _print(title: str, counted: Counter[str], rows: int) -> None:
    most = max(counted.values(), default=1) if title == "total" else counted.total() or 1
    click.echo(f"\n{title} %")
    for frame, count in counted.most_common(rows):
        click.echo(f"{100 * count / most:6.1f}  {frame}")


if __name__ == "__main__":
    main()
