"""Measure the neural model: ``python -m tools.measure.neural_speed [--small] [--write] [--only PART …]``.

``operations``: counted per frame, after each optimisation. ``fp32``, ``fp32-compiled``, ``bf16-compiled``: our UNet and
decoder against diffusers' eager ones with the same random weights, alternating, in CPU time of one thread.
``precisions``: ours in fp32 and in bf16. ``profile``:
the slowest operations. ``half-rate``: the difference between the mean of two faces and the one between them, in a
prepared --avatar of a person who speaks. ``shared-batches``: four sessions with batches of their own, and with batches
that they share. Full-size nets need 12 GB of memory and minutes.
"""

from __future__ import annotations

import argparse
import platform
from datetime import date
from pathlib import Path

import torch

from fixtures import operations
from musetalk_cli.engine.models.musetalk.checkpoints.loading import NetConfigs
from tools.measure.neural_speed import half_rate, profiles, ratios, shared_batches
from tools.measure.report import PERFORMANCE, update_section

RUNS = {
    "fp32": (torch.float32, False, 0.88),
    "fp32-compiled": (torch.float32, True, None),
    "bf16-compiled": (torch.bfloat16, True, 0.70),
}
PARTS = ("operations", *RUNS, "precisions", "profile", "half-rate", "shared-batches")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.measure.neural_speed", description=__doc__)
    parser.add_argument("--small", action="store_true", help="the tests' small nets")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PERFORMANCE.name}")
    parser.add_argument("--repeats", type=int, default=5, help="turns of one frame each")
    parser.add_argument("--avatar", type=Path, help="folder of a prepared avatar of a person who speaks")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some of the parts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    configs = NetConfigs()
    if args.small:
        from fixtures.small_nets import CONFIGS

        configs = CONFIGS
    for name in args.only:
        if name == "half-rate" and args.avatar is None:
            continue
        table = measure(name, configs, args.repeats, args.avatar)
        text = f"{date.today()}." if name == "half-rate" else describe_run(args.small)
        text = f"{text}\n\n{table}"
        print(f"\n{name}: {text}", flush=True)
        if args.write:
            update_section(f"neural speed, {name}", text, PERFORMANCE)


def describe_run(is_small: bool) -> str:
    size = "small" if is_small else "full-size"
    return f"{date.today()}, {size} nets, {platform.machine()} CPU, one thread, torch {torch.__version__}."


def measure(name: str, configs: NetConfigs, repeats: int, avatar: Path) -> str:
    """A part's table."""
    if name == "operations":
        shares = operations.share_by_kind(configs)
        kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in sorted(shares.items(), key=lambda item: -item[1]))
        return f"{operations.describe_all(list(operations.count_all(configs)))}\n\nAs published, by kind: {kinds}."
    if name == "precisions":
        return ratios.compare_precisions(configs, repeats)
    if name == "profile":
        return profiles.profile_frame(configs, torch.float32)
    if name == "half-rate":
        return half_rate.compare(avatar)
    if name == "shared-batches":
        return shared_batches.compare(configs, repeats)
    dtype, is_compiled, goal = RUNS[name]
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "Not measured: this CPU does not compute in bfloat16, but emulates it."
    result = ratios.compare(configs, dtype, repeats, is_compiled=is_compiled, goal=goal)
    return f"{ratios.HEAD}\n{ratios.describe(result)}"


if __name__ == "__main__":
    main()
