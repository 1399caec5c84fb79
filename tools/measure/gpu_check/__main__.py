"""Check and measure the neural model on this computer's GPU: ``python -m tools.measure.gpu_check > gpu.md``.

It uses random weights. It needs torch, numpy, opencv and the packages of the neural model's tests, but no ffmpeg.
diffusers is measured too where it is installed. ``--small`` runs all parts on a CPU with the tests' small nets.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date

import torch

from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs, Nets
from tools.measure.gpu_check import correctness, speed
from tools.measure.gpu_check.machine import Machine, describe

# Parts that have not started by then are skipped, so that the whole run stays below eight minutes.
LIMIT_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.measure.gpu_check", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small nets on the CPU")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--repeats", type=int, default=10, help="calls for each figure")
    args = parser.parse_args()
    if not args.small and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --small runs all parts on the CPU with small nets")
    machine = _small_machine(args.repeats) if args.small else _machine(args.repeats)
    print(f"# The neural model on a GPU\n\n{date.today()}: {describe(machine)}\n", flush=True)
    started = time.perf_counter()
    for title, part in parts(machine, has_compiled=not args.no_compile):
        print(f"## {title}\n", flush=True)
        if time.perf_counter() - started > LIMIT_S:
            print("skipped: no time left\n", flush=True)
            continue
        try:
            for text in part():
                print(text, flush=True)
        except Exception as error:  # the next part may work all the same
            print(f"**failed**: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        print(flush=True)
    print(f"In total {time.perf_counter() - started:.0f} s.")


def parts(machine: Machine, *, has_compiled: bool) -> Iterator[tuple[str, Callable[[], Iterator[str]]]]:
    """Title and function of each part, the most important first."""
    half = torch.float16 if machine.device.type == "cuda" else torch.float32
    nets: list[Nets] = []

    def start() -> Iterator[str]:
        made, text = speed.measure_start_and_block(machine, half)
        nets.append(made)
        yield text

    yield "Are the faces right?", lambda: iter([correctness.check(machine)])
    yield "Start, and a block of 2 s", start
    yield "Upsamplings", lambda: iter([speed.compare_upsamplings(machine, half)])
    yield "Threads", lambda: iter([speed.compare_threads(machine, nets[0])])
    yield "Ways to call the nets", lambda: speed.compare_calls(machine, nets[0], half)
    if has_compiled:
        yield "Compiled", lambda: speed.measure_compiled(machine, nets[0], half)
    yield "The same in bfloat16", lambda: speed.compare_calls(machine, _in_bf16(machine), torch.bfloat16)


def _in_bf16(machine: Machine) -> Nets:
    from musetalk_cli.engine.models.musetalk.checkpoints.loading import Precision, random_nets

    return random_nets("1.5", Precision(machine.device, torch.bfloat16), speed.SEED, machine.configs)


def _machine(repeats: int) -> Machine:
    torch.backends.cudnn.benchmark = True
    return Machine(torch.device("cuda", 0), NetConfigs(), repeats, (1, 4, 8, 16))


def _small_machine(repeats: int) -> Machine:
    from fixtures.small_nets import CONFIGS

    torch.set_num_threads(1)
    return Machine(torch.device("cpu"), CONFIGS, min(repeats, 1), (1, 2), block=(1, 2))


if __name__ == "__main__":
    main()
