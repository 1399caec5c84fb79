from __future__ import annotations

import asyncio
import subprocess
import sys

from musetalk_cli.serve.output_lines import MAX_LINE_BYTES, OutputLines


async def lines_of(code: str) -> list[str]:
    """What is told of a process that runs ``code`` with the pipe as its stderr."""
    told: list[str] = []
    output = OutputLines(told.append)
    await output.open()
    child = subprocess.Popen([sys.executable, "-c", f"import sys\n{code}"], stderr=output.fd)
    await asyncio.to_thread(child.wait)
    await output.close()
    await output.close()
    return told


def test_each_line_is_told() -> None:
    code = "sys.stderr.write('one\\n\\ntwo, but not \\\\udcff UTF-8\\nthree')"
    told = asyncio.run(lines_of(code))
    assert [told[0], told[-1], len(told)] == ["one", "three", 3]


def test_a_line_without_an_end_does_not_stop_the_next() -> None:
    code = f"sys.stderr.write('x' * {2 * MAX_LINE_BYTES} + '\\nnext\\n')"
    assert asyncio.run(lines_of(code))[-1] == "next"
