"""Single keys from the terminal while a run goes on."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import Any

from musetalk_cli.ui.console import is_terminal


class Keys:
    """Reads keys without waiting for them. Where there is no terminal to read from, or it is not ours (a job in the
    background), there are none. ``close`` leaves the terminal as it was.

    After Ctrl-Z, ``fg`` gives the keys back, and ``bg`` leaves the terminal to the shell: whoever reads from it or sets
    it in the background is stopped.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._saved: Any = None
        self._has_console = sys.platform == "win32" and is_terminal()
        with contextlib.suppress(OSError, ImportError, ValueError):
            self._open()

    def read(self) -> str:
        """The keys that were pressed since the last call."""
        if self._has_console:
            return _read_console()
        if self._fd is None:
            return ""
        with contextlib.suppress(OSError):
            if self._take_back() and select.select([self._fd], [], [], 0)[0]:
                return os.read(self._fd, 64).decode("utf-8", "ignore")
        return ""

    def close(self) -> None:
        if self._fd is None:
            return
        import termios

        with contextlib.suppress(OSError, termios.error):
            if _is_ours(self._fd):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
        os.close(self._fd)
        self._fd = None

    def _take_back(self) -> bool:
        """Whether the terminal is ours; a shell that stopped this process has set it to whole lines. Raises OSError."""
        import termios
        import tty

        if self._fd is None or not _is_ours(self._fd):
            return False
        with contextlib.suppress(termios.error):
            if termios.tcgetattr(self._fd)[tty.LFLAG] & termios.ICANON:
                tty.setcbreak(self._fd, termios.TCSANOW)
        return True

    def _open(self) -> None:
        import termios
        import tty

        if not is_terminal():
            return
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            if not _is_ours(fd):
                raise OSError("in the background")
            self._saved = termios.tcgetattr(fd)
            tty.setcbreak(fd, termios.TCSANOW)
        except (OSError, termios.error):
            os.close(fd)
            return
        self._fd = fd


def _is_ours(fd: int) -> bool:
    """Whether this process is in the foreground of a terminal. Raises OSError."""
    return os.tcgetpgrp(fd) == os.getpgrp()


def _read_console() -> str:
    """The keys of Windows' console, which says itself whether there are any; arrows and the like, in two parts, are
    left out."""
    import msvcrt

    keys = ""
    while msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
        key = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
        if key in "\0\xe0":
            msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
        else:
            keys += key
    return keys
