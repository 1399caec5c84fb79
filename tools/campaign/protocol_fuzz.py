"""``python -m tools.campaign.protocol_fuzz --messages 200000``: messages at random against a real ``musetalk serve``.

Each is taken, or its connection is closed with a documented code and a reason; the server goes on, logs no error and no
traceback, and leaves no session behind. The exit code says whether that held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fixtures.protocol_fuzz import Mix, Outcomes, fuzz

NUM_CLIENTS = 4
# A session takes a process that begins, so most wrong messages come before one, and sessions get long.
MIX = Mix(starts=0.03, weights=(40, 60, 2, 1), most=400)
STEP = 500  # messages between two lines of progress
END_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as ending:
        log = Path(ending.enter_context(TemporaryDirectory())) / "log"
        server, address = start_server(log)
        ending.callback(server.kill)
        outcomes = asyncio.run(run_all(address, options.messages, options.seed))
        num_left = wait_until_empty(address)
        server.send_signal(signal.SIGTERM)
        exit_code = server.wait(30)
        errors = [line for line in log.read_text().splitlines() if not is_harmless(line)]
    for name, count in sorted(outcomes.items()):
        print(f"{name:32} {count}")
    print(f"sessions left {num_left}, exit code {exit_code}, lines of the log that tell of an error {len(errors)}")
    print("\n".join(errors[:10]))
    return int(bool(num_left or exit_code or errors))


def start_server(log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server on a free port, and its address."""
    command = [sys.executable, "-m", "musetalk_cli", "serve", "--port", "0", "--log-format", "json", "--size", "64"]
    with log.open("wb") as file:
        server = subprocess.Popen([*command, "--max-sessions", "16", "--workers", "6"], stderr=file, env=os.environ)
    while server.poll() is None:
        for line in log.read_text().splitlines():
            if json.loads(line)["event"] == "ready":
                return server, json.loads(line)["address"]
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {log.read_text()}")


async def run_all(address: str, num_messages: int, seed: int) -> Outcomes:
    """Several clients at once share the messages."""
    outcomes = Outcomes()
    began = time.monotonic()

    async def run_one(number: int) -> None:
        for step in range(0, num_messages // NUM_CLIENTS, STEP):
            target = address.replace("http", "ws") + "v1/session"
            outcomes.update(await fuzz(target, STEP, seed + number * 1_000_000 + step, MIX))
            rate = outcomes["messages"] / (time.monotonic() - began)
            print(f"{outcomes['messages']} of {num_messages}, {rate:.0f}/s", file=sys.stderr)

    await asyncio.gather(*(run_one(number) for number in range(NUM_CLIENTS)))
    return outcomes


def wait_until_empty(address: str) -> int:
    """Sessions that are left once all clients have gone."""
    deadline = time.monotonic() + END_S
    while (left := int(read_status(address)["sessions"])) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def read_status(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}v1/status", timeout=5) as answer:  # noqa: S310 - of this machine
        return json.loads(answer.read())  # type: ignore[no-any-return]


def is_harmless(line: str) -> bool:
    """Whether a line of the log is an object that tells of no error."""
    try:
        return json.loads(line)["level"] == "info" and '"session_failed"' not in line
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
