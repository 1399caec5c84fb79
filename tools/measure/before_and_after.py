"""Compare ``musetalk`` with what a straightforward version does instead, and write it into docs/performance.md.

    python -m tools.measure.before_and_after [--size 512 768] [--seconds 10] [--rounds 5] [--write]

What ``musetalk bench --compare`` measures, for several sizes, with the warp model or the one that is named.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from musetalk_cli.__main__ import set_up_libraries
from musetalk_cli.configuration.schema import Config
from tools.measure.report import PERFORMANCE, describe_machine, update_section


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="warp", choices=["warp", "musetalk-1.5", "musetalk-1.0"])
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--size", type=int, nargs="+", default=[512, 768])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="into the document's section of this model")
    parser.add_argument("--note", default="", help="a sentence to stand above the tables")
    args = parser.parse_args()
    set_up_libraries()  # as the command does, before numpy is loaded
    config = Config(model=args.model, random_weights=args.random_weights, device=args.device, precision=args.precision)
    tables = [f"```\n{describe(config, size_px, args.seconds, args.rounds)}\n```" for size_px in args.size]
    text = "\n\n".join(filter(None, [describe_machine(), args.note, *tables]))
    if args.write:
        update_section(f"before and after, {args.model}", text, PERFORMANCE)
    print(text)


def describe(config: Config, size_px: int, seconds: float, rounds: int) -> str:
    from musetalk_cli.benchmark.comparison.procedure import compare
    from musetalk_cli.benchmark.comparison.report import describe_comparison

    sized = replace(config, video=replace(config.video, size=size_px))
    return describe_comparison(compare(sized, config.model, seconds=seconds, rounds=rounds, tell=tell))


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
