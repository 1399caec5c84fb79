"""Which ffmpeg to run: one that has shown that it works.

Many an ffmpeg on PATH cannot start, for a library that an upgrade took away, or lacks libx264. Each is tried once,
which takes 60 ms of CPU (measured), and an empty file in the user's cache remembers that it worked.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli.engine.runtime.ffmpeg import describe_status, find_error, is_bundled, list_ffmpegs, run_watched
from musetalk_cli.errors import EncoderError, system_words

if TYPE_CHECKING:  # it needs numpy, which is loaded while the decoder starts
    from musetalk_cli.engine.types.messages import Tell

TRIAL_TIMEOUT_S = 30.0
# Of the trial: a record of another one says nothing. Change it with the trial's command line.
TRIAL_VERSION = 1
_SIDE_PX = 64
# What makes the same file start or not.
_LOADER_VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES")

# By choice, PATH and whether all is local: a run asks several times, and is told once.
_chosen: dict[tuple[str, str, bool], str] = {}
_records: dict[str, Path] = {}  # the file that remembers of a program that it worked


def choose_ffmpeg(choice: str, cache: Path, tell: Tell, *, is_local: bool = False) -> str:
    """Path of an ffmpeg that works.

    Args:
        choice: ``auto`` (the one on PATH, or the bundled one where that does not work), ``bundled``, or a path.
        cache: a folder that remembers which ones work; one that cannot be written costs a trial in each process.
        tell: takes the line that the one on PATH is not used, and why.
        is_local: whether it only reads and writes files: with ``auto``, the bundled one then comes first.

    Raises:
        EncoderError: there is none, or the one that was chosen does not work.
    """
    key = choice, os.environ.get("PATH", ""), is_local
    if key not in _chosen:
        _chosen[key] = _choose(list_ffmpegs(choice, is_local=is_local), choice, cache, tell)
    return _chosen[key]


def _choose(programs: list[str], choice: str, cache: Path, tell: Tell) -> str:
    """The first that works; that a better one does not is told where the user has put it on PATH."""
    problems = dict[str, str]()
    for program in programs:
        problem = _find_problem(program, cache)
        if problem is None:
            if broken := [f"{path} ({why})" for path, why in problems.items() if not is_bundled(path)]:
                tell(f"musetalk: warning: ffmpeg does not work: {broken[0]}; the bundled one is used")
            return program
        problems[program] = problem
    if choice != "auto":
        raise describe_broken(*problems.popitem(), "set 'ffmpeg: auto' in the configuration to use another")
    (first, reason), *others = sorted(problems.items(), key=lambda item: is_bundled(item[0]))
    both = "".join(f"), nor the bundled one: {path} ({why}" for path, why in others)
    raise describe_broken(first, reason + both, "install ffmpeg with libx264")


def explain_failure(ffmpeg: str) -> EncoderError | None:
    """After a failure that the input may be blamed for: what is wrong with the program itself, None if it works.

    It is tried again, whatever is remembered of it, as its libraries may have gone since.
    """
    problem = try_ffmpeg(ffmpeg)
    if problem is None:
        return None
    if record := _records.get(ffmpeg):
        with contextlib.suppress(OSError):
            record.unlink(missing_ok=True)
    other = "the one on PATH" if is_bundled(ffmpeg) else "the bundled one"
    hint = f"run it again to use {other}, unless the configuration names this one"
    return describe_broken(ffmpeg, problem, hint)


def describe_broken(ffmpeg: str, problem: str, hint: str) -> EncoderError:
    return EncoderError(f"ffmpeg does not work: {ffmpeg} ({problem})", hint=hint)


def _find_problem(ffmpeg: str, cache: Path) -> str | None:
    """What is wrong with it, in its own words; None if it works, or has worked."""
    record = _record_path(ffmpeg, cache)
    if record is not None and record.exists():
        _records[ffmpeg] = record
        return None
    problem = try_ffmpeg(ffmpeg)
    if problem is None and record is not None:
        with contextlib.suppress(OSError):
            record.parent.mkdir(parents=True, exist_ok=True)
            record.touch()
            _records[ffmpeg] = record
    return problem


def _record_path(ffmpeg: str, cache: Path) -> Path | None:
    """A name that changes with the program and with what it is started with; None where it cannot be examined."""
    try:
        facts = Path(ffmpeg).stat()
        where = os.path.realpath(ffmpeg)
    except OSError:
        return None
    loader = [os.environ.get(name, "") for name in _LOADER_VARIABLES]
    known = [TRIAL_VERSION, where, facts.st_size, facts.st_mtime_ns, facts.st_ino, *loader]
    # Nobody forges one, and to load a hash that is safe against that takes as long as the rest of the choice.
    return cache / f"works-{zlib.crc32(repr(known).encode()):08x}-{facts.st_mtime_ns:x}"


def try_ffmpeg(ffmpeg: str) -> str | None:
    """Encode two frames and their audio as a render does: None if that gives an MP4, else what the program says."""
    frames = bytes(2 * _SIDE_PX * _SIDE_PX * 3 // 2)
    try:
        done = run_watched(build_trial_args(ffmpeg), data=frames, timeout_s=TRIAL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"it did not end within {TRIAL_TIMEOUT_S:.0f} s"
    except OSError as error:
        return system_words(error)
    if done.returncode == 0 and done.stdout[4:8] == b"ftyp":
        return None
    said = done.stderr.decode("utf-8", "replace").splitlines() or done.stdout[:200].decode("utf-8", "replace").split(
        "\n"
    )
    status = "it made no video" if done.returncode == 0 else f"it {describe_status(done.returncode)}"
    return find_error([line.strip() for line in said if line.strip()]) or status


def build_trial_args(ffmpeg: str) -> list[str]:
    """Raw frames on stdin, and this file's bytes as PCM: not every ffmpeg has lavfi."""
    size, rate = f"{_SIDE_PX}x{_SIDE_PX}", "25"
    video = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-framerate", rate, "-i", "pipe:0"]
    audio = ["-f", "s16le", "-ar", "48000", "-ac", "1", "-t", "0.04", "-i", f"file:{__file__}"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]
    container = ["-f", "mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof", "pipe:1"]
    return [ffmpeg, "-hide_banner", "-loglevel", "level+error", *video, *audio, *codecs, *container]
