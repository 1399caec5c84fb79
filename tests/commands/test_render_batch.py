"""``musetalk render`` with many inputs, as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.fakes import tone
from fixtures.media import read_frames, write_wav
from fixtures.prepared_avatars import make_transparent, write_avatar

Run = Callable[..., subprocess.CompletedProcess[bytes]]
SMALL = ("--size", "64")


def lines_of(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    folder.mkdir()
    for number in range(4):
        write_wav(folder / f"v{number}.wav", tone(0.6 + 0.2 * number, 1))
    return folder


def test_a_batch_makes_what_single_commands_make(run_cli: Run, voices: Path, tmp_path: Path, ffmpeg: str) -> None:
    (voices / "broken.wav").write_bytes(b"nothing of a wav")
    done = run_cli("render", "voices", "-o", "out", "--report", "report.jsonl", "--jobs", "2", *SMALL, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == b""
    said = done.stderr.decode().splitlines()
    assert said[-1].startswith("4 of 5 files, ")
    assert said[-1].endswith(", 1 failed")
    assert any("broken.wav: error: " in line for line in said)
    records = {record["output"]: record for record in lines_of(tmp_path / "report.jsonl")}
    assert "cannot be decoded" in records.pop("out/broken.mp4")["error"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"v{number}.mp4" for number in range(4)]
    for number in (0, 3):
        alone = run_cli("render", voices / f"v{number}.wav", "-o", "-", *SMALL).stdout
        output = tmp_path / "out" / f"v{number}.mp4"
        assert np.array_equal(read_frames(ffmpeg, output, 64, 64), read_frames(ffmpeg, alone, 64, 64))
        record = records[f"out/v{number}.mp4"]
        assert (record["frames"], record["bytes"]) == (round(15 + 5 * number), output.stat().st_size)


def test_files_of_a_batch_share_a_transparent_avatar(run_cli: Run, voices: Path, tmp_path: Path) -> None:
    make_transparent(write_avatar(tmp_path / "anna"))
    names = [f"v{number}.wav" for number in range(4)]
    lines = ["voice,output", *(f"voices/{name},{name}.webm" for name in names)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    args = ("--manifest", "list.csv", "--avatar", "./anna", "--jobs", "1", *SMALL)
    done = run_cli("render", *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert all((tmp_path / f"{name}.webm").stat().st_size for name in names)


def test_a_manifest_sets_avatar_output_and_size(run_cli: Run, voices: Path, tmp_path: Path, ffmpeg: str) -> None:
    lines = ["voice,avatar,output,size", "voices/v0.wav,theo,deep/t.mp4,96", "voices/v1.wav,,n.mov,"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    done = run_cli("render", "--manifest", "list.csv", "-o", "out", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_frames(ffmpeg, tmp_path / "out/deep/t.mp4", 96, 96)) == 15
    assert len(read_frames(ffmpeg, tmp_path / "out/n.mov", 64, 64)) == 20


def start(*args: object, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "musetalk_cli", "render", *map(str, args)]
    return subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, **options)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)


def test_a_queue_is_rendered_line_by_line(voices: Path, tmp_path: Path) -> None:
    process = start(
        "--manifest", "-", "--report", "-", *SMALL, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    for number, line in enumerate(('{"voice": "voices/v0.wav"}', "wrong", '{"voice": "voices/v1.wav"}')):
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
        record = json.loads(process.stdout.readline())
        assert (record["error"] is None) == (number != 1)
    process.stdin.close()
    assert process.wait(30) == 1
    assert process.stderr is not None
    assert b"2 of 3 files" in process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert (tmp_path / "v1.mp4").exists()


def test_a_killed_batch_goes_on(run_cli: Run, voices: Path, tmp_path: Path, ffmpeg: str) -> None:
    write_wav(voices / "v9.wav", tone(40, 1))  # what is rendered when it is killed
    args = ("voices", "-o", "out", "--report", "r.jsonl", "--jobs", 1, *SMALL)
    out = tmp_path / "out"
    process = start(*args, cwd=tmp_path)
    # The encoder of a file may still end while the next one is rendered.
    wait_for(lambda: list(out.glob(".v9.part1.mp4")) and len(list(out.glob("v*.mp4"))) == 4, process)
    process.kill()
    process.communicate()
    assert not (out / "v9.mp4").exists()
    assert list(out.glob(".v9.part1.mp4"))
    made_at = {path: path.stat().st_mtime_ns for path in out.glob("v*.mp4")}
    assert len(made_at) == 4
    write_wav(voices / "v9.wav", tone(1, 1))
    refused = run_cli("render", "voices", "-o", "out", cwd=tmp_path)
    assert refused.returncode == 1
    assert b"exists already" in refused.stderr
    done = run_cli("render", *args, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"4 were whole already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in made_at} == made_at
    assert len(read_frames(ffmpeg, out / "v9.mp4", 64, 64)) == 25
    assert len(list(out.iterdir())) == 5
    records = lines_of(tmp_path / "r.jsonl")
    assert sorted(record["output"] for record in records) == [f"out/v{number}.mp4" for number in (0, 1, 2, 3, 9)]


@pytest.mark.parametrize("folder", ["voices", "voices/videos"])
def test_a_folder_of_voices_may_have_the_videos_in_it(run_cli: Run, voices: Path, tmp_path: Path, folder: str) -> None:
    args = ("render", "voices", "-o", folder, *SMALL)
    assert run_cli(*args, cwd=tmp_path).returncode == 0
    (tmp_path / folder / "v2.mp4").unlink()
    done = run_cli(*args, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.decode().splitlines()[-1].endswith("3 were whole already")
    assert sorted(path.name for path in voices.rglob("*.mp4")) == [f"v{number}.mp4" for number in range(4)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_batch_and_leaves_nothing_half(tmp_path: Path, number: signal.Signals) -> None:
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", tone(300, 1))
    process = start("a.wav", "b.wav", "-o", "out", "--report", "r.jsonl", *SMALL, cwd=tmp_path)
    wait_for(lambda: list((tmp_path / "out").glob(".*.mp4")), process)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert b"stopping" in said
    assert b"0 of 2 files" in said
    assert list((tmp_path / "out").iterdir()) == []
    assert lines_of(tmp_path / "r.jsonl") == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a.wav", "--jobs", "2"], "--jobs"),
        (["a.wav", "--resume"], "--resume"),
        (["a.wav", "--report", "r"], "--report"),
        (["a.wav", "b.wav", "--json"], "--json"),
        (["a.wav", "b.wav", "--stats", "s"], "--stats"),
        (["a.wav", "--manifest", "m"], "--manifest"),
        (["a.wav", "b.wav", "-o", "c.mp4"], "c.mp4 is no folder"),
        (["a.wav", "x/a.wav"], "would both become a.mp4"),
    ],
)
def test_what_does_not_go_together_is_said_before_work(
    run_cli: Run, tmp_path: Path, args: Sequence[str], words: str
) -> None:
    done = run_cli("render", *args, cwd=tmp_path)
    (line,) = done.stderr.decode().splitlines()
    assert words in line
    assert done.returncode in (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_is_not_asked_where_nothing_is_left(run_cli: Run, voices: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for number in range(4):
        (tmp_path / f"out/v{number}.mp4").write_bytes(b"whole")
    done = run_cli("render", "voices", "-o", "out", "--resume", "--ray", "127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"nothing to do: 4 files were whole already" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a.wav", "b.wav", "--cpus-per-worker", "2"], "--cpus-per-worker: is for the workers of --ray"),
        (["a.wav", "--cpus-per-worker", "2"], "--cpus-per-worker"),
        (["a.wav", "--ray", "local", "--json"], "--json"),
        (["a.wav", "-o", "s3://bucket/videos", "--manifest", "m"], "--manifest"),
        (["a.wav", "b.wav", "-o", "s3://bucket/videos"], "--ray writes there"),
    ],
)
def test_options_of_a_cluster(run_cli: Run, tmp_path: Path, args: Sequence[str], words: str) -> None:
    done = run_cli("render", *args, cwd=tmp_path)
    assert words in done.stderr.decode()
    assert done.returncode in (1, 2)
    assert list(tmp_path.iterdir()) == []
