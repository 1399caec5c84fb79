"""A part of the campaigns with a fixed seed, in two minutes or three, as CI runs it.

    python -m tools.campaign --slice [--minutes 1.8]

Kills and faults in every kind of disturbance, until the minutes are over, and damaged inputs for every parser. The exit
code is 1 where something did not hold. The long runs are commands of their own: docs/reliability.md names them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

EXECUTIONS = 40_000  # of the parsers
RUNS = 150  # of faults, where the machine is quick enough


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slice", action="store_true", required=True, help="this part")
    parser.add_argument("--minutes", type=float, default=1.8, help="for the kills and faults")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        faults = ("faults", "--seed", "0", "--runs", str(RUNS), "--minutes", str(args.minutes), "--state", state)
        codes = [run(*faults), run("parser_fuzz", "--seed", "0", "--executions", str(EXECUTIONS))]
    return max(codes)


def run(name: str, *options: str) -> int:
    """One campaign; its exit code."""
    began_s = time.monotonic()
    code = subprocess.run([sys.executable, "-m", f"tools.campaign.{name}", *options], check=False).returncode
    print(f"{name}: {'held' if code == 0 else 'did not hold'}, {time.monotonic() - began_s:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
