"""The start of the program: what has to be settled before anything heavy is loaded.

``musetalk`` and ``python -m musetalk_cli`` both begin here.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from musetalk_cli import ending
from musetalk_cli.system import heap, streams

SHOW_CURSOR = b"\x1b[?25h"


def main() -> None:
    """Run the command line and exit."""
    # What is loaded at the start stays. Searching it for garbage again and again takes 50 of the 850 ms to the first
    # byte; a run switches the collector on again.
    gc.disable()
    heap.share()
    try:
        streams.open_missing()
        streams.accept_every_character()
        _end_quietly_on_signals()
        ending.watch_signals()
        ending.on_leaving(_release)
        set_up_libraries()
        from musetalk_cli.cli import run
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        _refuse(error)

    try:
        run()
    except SystemExit as end:
        if ending.is_by_signal(end.code):  # threads may still compute, and Python would wait for them
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            ending.leave(end.code if isinstance(end.code, int) else 1)
        raise


def _refuse(error: Exception) -> NoReturn:
    """Name what the machine does not give already now, when nothing is loaded that names errors."""
    from musetalk_cli.errors import MachineError, as_machine_error, system_words

    refusal = as_machine_error(error)
    if refusal is None and isinstance(error, OSError):
        refusal = MachineError(f"the system reports: {system_words(error)}", hint="start it again")
    if refusal is None:
        raise error
    with contextlib.suppress(OSError):
        os.write(2, f"musetalk: error: {refusal} ({refusal.hint})\n".encode(errors="replace"))
    ending.leave(refusal.exit_code)


def _release() -> None:
    """Kill every ffmpeg, since one that waits for its input would outlive us, and show the terminal's cursor again."""
    runtime = sys.modules.get("musetalk_cli.engine.runtime.ffmpeg")
    if runtime is not None:
        runtime.kill_all()
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, SHOW_CURSOR)


def _end_quietly_on_signals() -> None:
    """Until a run installs handlers of its own, a signal ends us without a traceback, and our children with us."""
    for number in ending.SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    ending.note(number)
    if ending.is_settled():
        return
    # An import drops what is raised while one of its callbacks runs, and Python tells of that with a traceback. Should
    # that have been this, nothing is told, and ``ending`` ends the process.
    sys.unraisablehook = lambda dropped: None
    raise ending.SignalExit(128 + number)


def set_up_libraries() -> None:
    # One worker per core is parallel enough: BLAS threads of its own only make them wait for each other (measured 10 ×
    # slower on two busy cores). It has to be said before numpy is loaded.
    for library in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(library, "1")
    # No plugin of pydantic has a say in our settings, and looking for some would cost 60 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


if __name__ == "__main__":
    main()
