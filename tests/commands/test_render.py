"""``musetalk render`` as a user runs it: the real command, the real ffmpeg, the built-in portrait."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import describe, packet_times, read_audio, read_frames

Run = Callable[..., subprocess.CompletedProcess[bytes]]
SMALL = ("--size", "128")


def test_a_wav_becomes_a_talking_video(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    done = run_cli("render", speech, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert lines[-1].startswith("63 frames, 2.5 s in ")
    assert lines[-1].endswith("→ speech.mp4")
    video = tmp_path / "speech.mp4"
    about = describe(ffmpeg, video)
    assert "Video: h264" in about
    assert "yuv420p(tv, bt709" in about
    assert "768x768" in about
    assert "25 tbr" in about
    assert "Audio: aac" in about
    assert "48000 Hz, mono" in about
    assert len(read_frames(ffmpeg, video, 768, 768)) == 63


def test_the_mouth_moves_with_the_voice_and_rests_without(
    run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    calm = tmp_path / "calm.yaml"
    calm.write_text("warp: {life: false}\nvideo: {crf: 12}")
    assert run_cli("render", speech, "--size", "256", "--config", calm, cwd=tmp_path).returncode == 0
    luma = read_frames(ffmpeg, tmp_path / "speech.mp4", 256, 256)[:, :256].astype(float)
    motion = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2))
    assert motion[5:45].mean() > 5 * motion[56:59].mean(), (
        "behind the voice, the lips are parted for a moment, and still"
    )


def test_stdout_is_the_video_and_nothing_else(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    done = run_cli("render", "-", "-o", "-", *SMALL, input=speech.read_bytes(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout[4:8] == b"ftyp"
    assert len(read_frames(ffmpeg, done.stdout, 128, 128)) == 63
    assert not list(tmp_path.glob("*.mp4"))


def test_frames_are_the_same_whatever_the_number_of_workers(
    run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    one, many = (run_cli("render", speech, "-o", "-", *SMALL, "--workers", workers) for workers in (1, 5))
    images = [read_frames(ffmpeg, done.stdout, 128, 128) for done in (one, many)]
    assert np.array_equal(*images)


def test_audio_and_image_have_one_length(run_cli: Run, tone_wav: Callable[..., Path], ffmpeg: str) -> None:
    done = run_cli("render", tone_wav(4.33, 2), "-o", "-", *SMALL)
    num_frames = len(read_frames(ffmpeg, done.stdout, 128, 128))
    num_samples = len(read_audio(ffmpeg, done.stdout, 2))
    assert num_frames == 108
    assert abs(num_frames / 25 - num_samples / 48_000) <= 0.04


def test_flags_and_files_reach_the_video(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("video: {fps: 12.5, size: 96}\naudio: {bitrate_kbps: 64}")
    done = run_cli("render", speech, "--fps", "29.97", "--config", config, "--avatar", "nora", "-q", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == b""
    about = describe(ffmpeg, tmp_path / "speech.mp4")
    assert "96x96" in about
    assert "29.97 tbr" in about
    assert len(read_frames(ffmpeg, tmp_path / "speech.mp4", 96, 96)) == 75


def test_stats_are_json_lines(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.jsonl"
    assert run_cli("render", speech, *SMALL, "--stats", stats, cwd=tmp_path).returncode == 0
    records = [json.loads(line) for line in stats.read_text().splitlines()]
    assert records[-1]["event"] == "end"
    assert records[-1]["num_frames"] == 63
    assert set(records[-1]["stages"]) == {"decode", "features", "avatar", "model", "composite", "encode"}


def test_a_device_does_not_hold_what_plays(run_cli: Run, speech: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = run_cli("render", speech, *SMALL, "-o", "/dev/full")
    assert done.returncode == 1
    assert b"what was made" not in done.stderr


@pytest.mark.parametrize("command", [("render",), ("stream", "--no-pace", "-i")])
def test_stats_on_a_terminal_are_not_torn_by_a_display(speech: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "musetalk_cli", *command, str(speech), *SMALL, "-o", "talk.mp4", "--stats", "-"]
    with os.fdopen(ours, "rb", 0) as terminal:
        child = subprocess.Popen(
            line,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: its other end is closed
            while step := terminal.read(4096):
                shown += step
    assert child.wait(60) == 0
    lines = shown.decode().split("\r\n")
    assert json.loads(next(each for each in lines if each.startswith("{")))["event"] in ("tick", "end")
    assert "\x1b" not in shown.decode()


def test_print_config_shows_values_and_origins(run_cli: Run, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("video: {crf: 30}")
    done = run_cli("render", "--print-config", "--config", config, "--fps", "30")
    rows = {
        line.split("#")[0].strip(): line.split("#")[1].strip()
        for line in done.stdout.decode().splitlines()
        if "#" in line
    }
    assert rows["crf: 30"] == f"{config}:1:14"
    assert rows["fps: 30.0"] == "--fps"
    assert rows["size: null"] == "default"


def test_a_bundled_ffmpeg_will_do(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = run_cli("render", speech, *SMALL, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_frames(ffmpeg, tmp_path / "speech.mp4", 128, 128)) == 63


def test_an_existing_file_is_not_overwritten_unasked(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    video = tmp_path / "speech.mp4"
    video.write_bytes(b"precious")
    refused = run_cli("render", speech, *SMALL, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.decode().startswith("musetalk: error: speech.mp4 exists already")
    assert video.read_bytes() == b"precious"
    assert run_cli("render", speech, *SMALL, "--overwrite", cwd=tmp_path).returncode == 0
    assert video.read_bytes()[4:8] == b"ftyp"


def bad_inputs(folder: Path, speech: Path) -> None:
    (folder / "empty.wav").touch()
    (folder / "note.txt").write_text("words, words\n" * 99)
    (folder / "corrupt.wav").write_bytes(speech.read_bytes()[:16] + b"\xff" * 4_000)
    header = bytearray(speech.read_bytes()[:44])
    header[40:44] = bytes(4)
    (folder / "none.wav").write_bytes(header)
    (folder / "nan.yaml").write_text("video: {fps: .nan}")
    (folder / "unknown.yaml").write_text("video: {framerate: 25}")
    (folder / "folder").mkdir()
    (folder / "link.mp4").symlink_to("nowhere/talk.mp4")


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["missing.wav"], 1, "missing.wav does not exist"),
        (["folder"], 1, "folder holds no voice"),
        (["empty.wav"], 1, "empty.wav holds no audio"),
        (["note.txt"], 1, "note.txt"),
        (["corrupt.wav"], 1, "corrupt.wav"),
        (["none.wav"], 1, "none.wav holds no audio"),
        (["speech.wav", "-o", "no/such/place.mp4"], 1, "there is no folder no/such"),
        (["speech.wav", "-o", "link.mp4"], 1, "nowhere (create it first"),
        (["speech.wav", "-o", "folder"], 1, "folder is a folder"),
        (["speech.wav", "-o", "talk.avi"], 1, "(-o talk.mp4, -o talk.mov or -o talk.mkv makes a file)"),
        (["speech.wav", "-o", "talk.png"], 1, "one image holds no video (-o talk-%05d.png makes numbered images)"),
        (["speech.wav", "-o", "a.webm", "-o", "b.mp4"], 1, "a.webm is encoded in another way than the other outputs"),
        (["speech.wav", "-o", "hls"], 1, "in musetalk stream, -o hls/ makes a folder for HLS"),
        (["speech.wav", "-o", "hls/"], 1, "musetalk stream --input speech.wav -o hls/"),
        (["speech.wav", "-o", "live.m3u8"], 1, "musetalk stream --input speech.wav -o live.m3u8"),
        (
            ["speech.wav", "-o", "rtmp://host/live/secret"],
            1,
            "musetalk stream --input speech.wav -o 'rtmp://host/live/…'",
        ),
        (["speech.wav", "-o", "-", "-o", "-"], 1, "one output is named twice"),
        (["speech.wav", "-o", "a.mp4", "-o", "./a.mp4"], 1, "same file"),
        (["speech.wav", "--json", "-o", "-"], 1, "cannot both go to standard output"),
        (["speech.wav", "-o", ""], 1, "the output has no name"),
        ([""], 1, "the input has no name"),
        (["speech.wav", "-o", "speech.wav"], 1, "same file"),
        (["speech.wav", "--avatar", "norra"], 1, "did you mean 'nora'"),
        (["speech.wav", "--model", "wrap"], 2, "--model"),
        (["speech.wav", "--fps", "0"], 2, "--fps"),
        (["speech.wav", "--fps", "nan"], 2, "--fps"),
        (["speech.wav", "--size", "721"], 2, "even"),
        (["speech.wav", "--workers", "0"], 2, "--workers"),
        (["speech.wav", "--config", "nan.yaml"], 2, "finite"),
        (["speech.wav", "--config", "unknown.yaml"], 2, "unknown key 'video.framerate'"),
        (["speech.wav", "--config", "missing.yaml"], 2, "missing.yaml"),
        (["speech.wav", "--stats", "no/stats.jsonl"], 1, "no/stats.jsonl"),
        (["speech.wav", "--stats", "-", "-o", "-"], 1, "cannot both go to standard output"),
        (["speech.wav", "--stats", "/dev/stdout", "-o", "-"], 1, "cannot both go to standard output"),
    ],
)
def test_bad_input_is_one_clear_line(
    run_cli: Run, speech: Path, tmp_path: Path, args: list[str], status: int, words: str
) -> None:
    bad_inputs(tmp_path, speech)
    before = sorted(tmp_path.rglob("*"))
    done = run_cli("render", *args, cwd=tmp_path)
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("musetalk: error: ")
    assert words in line
    assert done.returncode == status
    assert done.stdout == b""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("size", "words"), [("512x768", "a height alone, such as 768"), ("wide", "720p"), ("0.5", "720p"), ("", "720p")]
)
def test_a_size_that_is_no_height(run_cli: Run, speech: Path, size: str, words: str) -> None:
    done = run_cli("render", speech, "--size", size)
    assert done.returncode == 2
    assert words in done.stderr.decode()


def test_several_outputs_hold_the_same(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    names = ("talk.mp4", "talk.MOV", "talk.mkv")
    outputs = [each for name in names for each in ("-o", name)]
    done = run_cli("render", speech, *outputs, "-o", "-", "--size", "128P", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "stdout.mp4").write_bytes(done.stdout)
    expected = decode_quietly(ffmpeg, tmp_path / "stdout.mp4")
    assert len(expected) > 63 * 128 * 192
    for name, container in zip(names, ("mov,mp4", "mov,mp4", "matroska"), strict=True):
        assert f"Input #0, {container}" in describe(ffmpeg, tmp_path / name)
        assert decode_quietly(ffmpeg, tmp_path / name) == expected


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_name_as_long_as_the_system_takes(run_cli: Run, speech: Path, tmp_path: Path, suffix: str) -> None:
    name = "n" * 250 + suffix
    for options in ((), ("--overwrite",)):
        done = run_cli("render", speech, "--size", "64", "-o", name, *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        assert [path.name for path in tmp_path.iterdir() if path != speech] == [name]


def test_a_fifo_is_a_voice_that_is_opened_once(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "voice.wav")
    writer = threading.Thread(target=lambda: (tmp_path / "voice.wav").write_bytes(speech.read_bytes()), daemon=True)
    writer.start()
    done = run_cli("render", "voice.wav", "-o", "o.mp4", *SMALL, cwd=tmp_path)
    writer.join()
    assert (done.returncode, done.stderr[:10]) == (0, b"63 frames,")


def decode_quietly(ffmpeg: str, video: Path) -> bytes:
    """All frames and all samples. Old ffmpegs guess another frame rate of a MKV, and complain of what they guessed."""
    kinds = (["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo"], ["-map", "0:a", "-f", "s16le"])
    command = [ffmpeg, "-v", "fatal", "-xerror", "-i", str(video)]
    return b"".join(subprocess.run([*command, *kind, "-"], capture_output=True, check=True).stdout for kind in kinds)


@pytest.mark.parametrize("name", ["talk.mov", "talk.mkv"])
def test_ctrl_c_leaves_other_containers_that_play(long_wav: Path, tmp_path: Path, ffmpeg: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"precious")
    child = start_render(long_wav, *SMALL, "-o", name, "--overwrite", cwd=tmp_path)
    part = tmp_path / name.replace(".", ".part1.")
    wait_for_bytes(part, 2_000)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert said.decode().splitlines()[-1].endswith(f"→ {part.name}")
    assert (tmp_path / name).read_bytes() == b"precious"
    assert len(decode_quietly(ffmpeg, part)) >= 25 * 128 * 192


@pytest.mark.parametrize("name", ["talk.mov", "talk.mkv"])
def test_a_full_disk_in_other_containers(run_cli: Run, speech: Path, tmp_path: Path, name: str) -> None:
    done = run_cli("render", speech, "-o", name, "-q", cwd=tmp_path, preexec_fn=limit_file_size)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert f"cannot write {name}: " in line


def test_json_is_one_object(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    done = run_cli("render", speech, *SMALL, "--json", "-q", cwd=tmp_path)
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert done.stderr == b""
    assert (result["frames"], result["seconds"], result["exit_reason"]) == (63, 2.52, "finished")
    assert result["outputs"] == ["speech.mp4"]
    assert result["bytes"] == (tmp_path / "speech.mp4").stat().st_size
    failed = run_cli("render", speech, *SMALL, "--json", cwd=tmp_path)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"] == "speech.mp4 exists already"


def test_json_names_the_signal(long_wav: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "musetalk_cli", "render", str(long_wav), *SMALL, "-o", "talk.mp4", "--json", "-q"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True)
    wait_for_bytes(tmp_path / "talk.mp4", 2_000)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=30)
    assert (child.returncode, json.loads(said)["exit_reason"]) == (143, "SIGTERM")


def test_a_video_without_audio(run_cli: Run, tmp_path: Path, ffmpeg: str) -> None:
    silent = tmp_path / "silent.mp4"
    subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", "color=d=1:s=64x64", str(silent)], check=True)
    done = run_cli("render", silent, "-o", tmp_path / "talk.mp4")
    assert done.returncode == 1
    assert b"silent.mp4 holds no audio" in done.stderr
    assert not (tmp_path / "talk.mp4").exists()


def empty_inputs(folder: Path, speech: Path) -> dict[str, bytes | None]:
    """Inputs that hold nothing: by name, or - with what comes through the pipe."""
    header = bytearray(speech.read_bytes()[:44])
    header[40:44] = bytes(4)
    (folder / "header.wav").write_bytes(header)
    (folder / "empty.mp3").touch()
    return {"empty.mp3": None, "header.wav": None, "/dev/null": None, "-": b"", "fifo": None}


@pytest.mark.parametrize("command", [("render",), ("stream", "--no-pace", "-i")])
@pytest.mark.parametrize("name", ["empty.mp3", "header.wav", "/dev/null", "-", "fifo"])
def test_every_empty_input_holds_no_audio(
    run_cli: Run, speech: Path, tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    given = empty_inputs(tmp_path, speech)[name]
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").open("wb").close(), daemon=True)
    if name == "fifo":
        writer.start()
    done = run_cli(*command, name, *SMALL, "-o", "talk.mp4", "-q", cwd=tmp_path, input=given or b"")
    if name == "fifo":
        writer.join(20)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert f"{'standard input' if name == '-' else name} holds no audio (" in line
    assert not (tmp_path / "talk.mp4").exists()


def test_an_unwritable_folder(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    # Not even root can create a file there, so the test holds in a container too.
    target = "/proc/talk.mp4" if sys.platform == "linux" else "/dev/talk.mp4"
    done = run_cli("render", speech, *SMALL, "-o", target)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert target in line


def limit_file_size() -> None:
    """From here on the disk is full, as far as this process can tell: no file may grow beyond 20 kB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("has_old", [False, True])
def test_a_full_disk(run_cli: Run, speech: Path, tmp_path: Path, has_old: bool) -> None:
    video = tmp_path / "speech.mp4"
    if has_old:
        video.write_bytes(b"precious")
    before = sorted(tmp_path.iterdir())
    done = run_cli("render", speech, "--overwrite", "-q", cwd=tmp_path, preexec_fn=limit_file_size)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert "cannot write speech.mp4" in line
    assert "free some space" in line
    assert sorted(tmp_path.iterdir()) == before
    assert not has_old or video.read_bytes() == b"precious"


@pytest.fixture
def long_wav(tone_wav: Callable[..., Path]) -> Path:
    return tone_wav(120.0)


def start_render(*args: object, cwd: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "musetalk_cli", "render", *map(str, args)]
    return subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, start_new_session=True)


def wait_for_bytes(path: Path, num_bytes: int) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size > num_bytes):
        assert time.monotonic() < deadline, "no output appeared"
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_ctrl_c_ends_the_file_properly(
    long_wav: Path, tmp_path: Path, ffmpeg: str, number: signal.Signals, exit_code: int
) -> None:
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.mp4", 2_000)
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == exit_code
    assert "stopping: ending the output" in said.decode()
    assert "frames" in said.decode().splitlines()[-1]
    assert 25 <= len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) < 3_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_slow_model_holds_up_no_ending(long_wav: Path, tmp_path: Path, ffmpeg: str, number: signal.Signals) -> None:
    slow = (
        "import sys, threading\n"
        "from musetalk_cli.engine.models.warp.model import WarpModel\n"
        "make_faces = WarpModel.make_faces\n"
        "def wait_or_make(self, batch):\n"
        "    if batch.frames.start >= 200:\n"
        "        threading.Event().wait(3600)\n"
        "    return make_faces(self, batch)\n"
        "WarpModel.make_faces = wait_or_make\n"
        "from musetalk_cli.__main__ import main\n"
        f"sys.argv[1:] = ['render', {str(long_wav)!r}, '-o', 'talk.mp4', '--size', '128']\n"
        "main()"
    )
    child = subprocess.Popen([sys.executable, "-c", slow], cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True)
    wait_for_bytes(tmp_path / "talk.mp4", 2_000)
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 128 + number
    assert said.decode().splitlines()[-1].endswith("→ talk.mp4")
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) >= 25


def test_a_frozen_encoder_holds_up_no_ending(long_wav: Path, tmp_path: Path, ffmpeg: str) -> None:
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.mp4", 10_000)
    (encoder,) = encoders_of(child.pid)
    os.kill(encoder, signal.SIGSTOP)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 143
    assert not Path(f"/proc/{encoder}").exists()
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) >= 25


@pytest.mark.parametrize("place", ["--stats", "-o"])
def test_a_pipe_without_a_reader_holds_up_no_ending(long_wav: Path, tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    others = ["-o", "talk.mp4"] if place == "--stats" else ["--stats", "stats.jsonl"]
    child = start_render(long_wav, *SMALL, place, "pipe.mp4", *others, cwd=tmp_path)
    wait_for_bytes(tmp_path / others[1], 100)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130


def test_statistics_go_to_stdout_where_it_is_free(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    done = run_cli("render", speech, *SMALL, "--stats", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "end"
    assert not (tmp_path / "-").exists()


def test_statistics_in_a_pipe_reach_a_reader_who_comes_late(long_wav: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stats")
    child = start_render(long_wav, *SMALL, "--stats", "stats", "-o", "talk.mp4", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.mp4", 2_000)
    with (tmp_path / "stats").open() as reader:
        first = json.loads(reader.readline())
        child.send_signal(signal.SIGINT)
        last = json.loads(reader.readlines()[-1])
    child.communicate(timeout=30)
    assert (first["event"], last["event"]) == ("tick", "end")


def test_ctrl_c_twice_drops_it_but_what_is_there_plays(long_wav: Path, tmp_path: Path, ffmpeg: str) -> None:
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", "--workers", "1", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.mp4", 10_000)
    child.send_signal(signal.SIGINT)
    time.sleep(0.25)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert b"Traceback" not in said
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) > 0


def test_ffmpeg_killed_in_the_middle(long_wav: Path, tmp_path: Path, ffmpeg: str) -> None:
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.mp4", 2_000)
    for pid in encoders_of(child.pid):
        os.kill(pid, signal.SIGKILL)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 1
    last = said.decode().splitlines()[-1]
    assert last.startswith("musetalk: error: ffmpeg was killed by SIGKILL after ")
    assert "what was made so far plays: talk.mp4" in last
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) > 0


def encoders_of(pid: int) -> list[int]:
    children = {
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    }
    found = [child for child in children if b"libx264" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert found
    return found


def test_a_reader_that_leaves_is_a_clean_end(long_wav: Path, tmp_path: Path) -> None:
    render = f"{sys.executable} -m musetalk_cli render {long_wav} -q -o - --size 128"
    command = f"{render} | head -c 3000 | wc -c; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["3000", "0"]
    assert done.stderr == ""


@pytest.mark.needs("strace")
def test_no_file_but_the_output_is_opened_for_writing(speech: Path, tmp_path: Path) -> None:
    log = tmp_path / "log" / "strace"
    log.parent.mkdir()
    command = [sys.executable, "-B", "-m", "musetalk_cli", "render", str(speech), *SMALL, "-o", "out/talk.mp4"]
    (tmp_path / "out").mkdir()
    trace = ["strace", "-f", "-qq", "-e", "trace=open,openat,creat,mkdir,mkdirat,rename,renameat2", "-o", str(log)]
    subprocess.run([*trace, *command], check=True, cwd=tmp_path, capture_output=True)
    writes = [line for line in log.read_text().splitlines() if is_write(line)]
    assert len(writes) == 1
    assert '/out/talk.mp4"' in writes[0]


def is_write(line: str) -> bool:
    opens_to_write = any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "creat(", "mkdir", "rename"))
    return opens_to_write and '"/dev/' not in line and " = -1 " not in line


def test_stdin_that_is_closed(run_cli: Run) -> None:
    done = run_cli("render", "-", "-o", "talk.mp4", preexec_fn=lambda: os.close(0))
    assert done.returncode == 1
    assert done.stderr == b"musetalk: error: standard input is closed (pipe audio into it)\n"


def test_no_arguments_and_version(run_cli: Run) -> None:
    assert b"render" in run_cli("--help").stdout
    assert run_cli("--version").stdout.startswith(b"musetalk ")
    missing = run_cli("render", stdin=subprocess.DEVNULL)
    assert missing.returncode == 2
    assert b"there is no input (musetalk render speech.wav; " in missing.stderr


@pytest.mark.needs("script")
def test_stdout_on_a_terminal_is_refused(speech: Path) -> None:
    command = f"{sys.executable} -m musetalk_cli render {speech} -o -"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert b"standard output is a terminal" in done.stdout


@pytest.mark.parametrize("choice", ["auto", "bundled"])
@pytest.mark.parametrize("fps", ["5", "10", "29.97"])
def test_an_encoder_that_looks_ahead_gets_its_images(
    run_cli: Run, tone_wav: Callable[..., Path], tmp_path: Path, ffmpeg: str, choice: str, fps: str
) -> None:
    config = tmp_path / "slow.yaml"
    config.write_text(f"ffmpeg: {choice}\nvideo: {{encoding_tune: none, encoding_preset: slow, batch_size: 1}}")
    options = ("--preset", "quality", "--config", config, "--fps", fps, "--size", "64", "-q")
    done = run_cli("render", tone_wav(15.0), *options, "-o", "-")
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_frames(ffmpeg, done.stdout, 64, 64)) == round(15 * float(fps))


@pytest.mark.parametrize("choice", ["bundled", "ffmpeg"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_that_are_coded_in_another_order_keep_their_times(
    run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str, suffix: str, choice: str
) -> None:
    """Frame n is n / 25 s behind the first sample, and the audio has no gap behind the packet that AAC begins with.

    An ffmpeg of version 5 repacks no time below zero: that packet is at 0 then, and the frames as much later.
    """
    (tmp_path / "my.yaml").write_text(f"ffmpeg: {choice}")
    video = tmp_path / f"talk{suffix}"
    options = ("--preset", "quality", "--size", "64", "--config", tmp_path / "my.yaml", "-q")
    done = run_cli("render", speech, *options, "-o", video)
    assert done.returncode == 0, done.stderr.decode()
    shown = sorted(packet_times(ffmpeg, video, "v"))
    heard = packet_times(ffmpeg, video, "a")
    assert np.allclose(shown, heard[0] + 1024 / 48000 + np.arange(len(shown)) / 25, atol=0.0011)
    assert np.allclose(np.diff(heard), 1024 / 48000, atol=0.0011)
    assert -1024 / 48000 - 0.001 < heard[0] < 0.001
    if suffix == ".mp4":
        assert shown[0] == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_such_a_file_plays_where_it_is_cut_off(
    run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str, suffix: str
) -> None:
    video, cut = tmp_path / f"talk{suffix}", tmp_path / f"cut{suffix}"
    assert run_cli("render", speech, "--preset", "quality", "--size", "64", "-q", "-o", video).returncode == 0
    data = video.read_bytes()
    cut.write_bytes(data[: data.rindex(b"moof") - 9])  # in what was last in the fragment before, audio
    whole, rest = read_frames(ffmpeg, video, 64, 64), read_frames(ffmpeg, cut, 64, 64)
    assert 0 < len(rest) < len(whole)
    assert np.array_equal(rest, whole[: len(rest)])


def test_an_interrupted_video_does_not_replace_an_older_one(long_wav: Path, tmp_path: Path, ffmpeg: str) -> None:
    old = tmp_path / "talk.mp4"
    old.write_bytes(b"precious")
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", "--overwrite", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.part1.mp4", 2_000)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert said.decode().splitlines()[-1].endswith("→ talk.part1.mp4")
    assert old.read_bytes() == b"precious"
    assert len(read_frames(ffmpeg, tmp_path / "talk.part1.mp4", 128, 128)) > 0


def test_sigterm_ends_properly_with_its_own_code(long_wav: Path, tmp_path: Path, ffmpeg: str) -> None:
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", cwd=tmp_path)
    wait_for_bytes(tmp_path / "talk.mp4", 2_000)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 143
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) > 0


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: of SIGTERM, Python itself has none."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell which signals are handled")
@pytest.mark.parametrize("delay_s", [0.03, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_run_leaves_nothing_behind(tmp_path: Path, delay_s: float, number: signal.Signals) -> None:
    read_fd, write_fd = os.pipe()  # a voice that never comes
    command = [sys.executable, "-m", "musetalk_cli", "render", "-", "-o", "talk.mp4"]
    child = subprocess.Popen(command, cwd=tmp_path, stdin=read_fd, stderr=subprocess.PIPE, start_new_session=True)
    os.close(read_fd)
    time.sleep(delay_s)
    is_handled = _handles(child.pid, signal.SIGTERM)
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    os.close(write_fd)
    assert list(tmp_path.iterdir()) == []
    if is_handled:  # before, Python itself may still be starting, and ends as it likes
        assert (child.returncode, b"Traceback" in said) == (128 + number, False), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_it_was_started_to_ignore_is_ignored(
    tone_wav: Callable[..., Path], tmp_path: Path, ffmpeg: str, number: signal.Signals
) -> None:
    """As under nohup, or in the background of a shell script."""
    command = [sys.executable, "-m", "musetalk_cli", "render", str(tone_wav(20.0)), *SMALL, "-o", "talk.mp4"]
    child = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
    )
    while child.poll() is None:  # from its first moment to its last
        child.send_signal(number)
        time.sleep(0.01)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, b"stopping" in said) == (0, False)
    assert len(read_frames(ffmpeg, tmp_path / "talk.mp4", 128, 128)) == 500


def test_a_signal_that_an_import_drops_is_obeyed_all_the_same() -> None:
    code = (
        "import os, signal, time, weakref\n"
        "from musetalk_cli import ending\n"
        "from musetalk_cli.__main__ import _end_quietly_on_signals\n"
        "_end_quietly_on_signals()\n"
        "ending.watch_signals()\n"
        "class Module: pass\n"
        "module = Module()\n"
        "watch = weakref.ref(module, lambda _: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.1)))\n"
        "del module\n"
        "print('still here', flush=True)\n"
        "time.sleep(30)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, "still here\n", "")


def test_a_reader_that_is_stuck_can_be_left(long_wav: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "talk.mp4")
    child = start_render(long_wav, *SMALL, "-o", "talk.mp4", "--stats", "stats.jsonl", cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not (tmp_path / "stats.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)  # until it runs, and waits for a reader
    for _ in range(2):
        child.send_signal(signal.SIGINT)
        time.sleep(0.4)
    child.communicate(timeout=10)
    assert child.returncode == 130


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_a_closed_standard_stream_does_no_harm(
    run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str, fd: int
) -> None:
    done = run_cli("render", speech, *SMALL, cwd=tmp_path, preexec_fn=lambda: os.close(fd))
    assert done.returncode == 0
    assert done.stdout == b""
    assert len(read_frames(ffmpeg, tmp_path / "speech.mp4", 128, 128)) == 63


def test_messages_never_enter_the_video(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("render", "missing.wav", "-o", "-", cwd=tmp_path, preexec_fn=lambda: os.close(2))
    assert done.returncode == 1
    assert done.stdout == b""


def test_stdout_that_is_closed(run_cli: Run, speech: Path) -> None:
    done = run_cli("render", speech, "-o", "-", preexec_fn=lambda: os.close(1))
    assert done.returncode == 1
    assert b"standard output is closed" in done.stderr


def test_a_voice_through_a_file_descriptor(run_cli: Run, speech: Path, ffmpeg: str) -> None:
    for name in ("/dev/stdin", "/dev/fd/0"):
        done = run_cli("render", name, "-o", "-", *SMALL, input=speech.read_bytes())
        assert done.returncode == 0, done.stderr.decode()
        assert len(read_frames(ffmpeg, done.stdout, 128, 128)) == 63
        with speech.open("rb") as file:  # ffmpeg's own standard input is another
            done = run_cli("render", name, "-o", "-", *SMALL, stdin=file)
        assert done.returncode == 0, done.stderr.decode()
        assert len(read_frames(ffmpeg, done.stdout, 128, 128)) == 63


@pytest.mark.parametrize("stats", ["speech.wav", "notes.txt", "mine.yaml"])
def test_statistics_replace_nothing_unasked(run_cli: Run, speech: Path, tmp_path: Path, stats: str) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    (tmp_path / "mine.yaml").write_text("video: {crf: 30}")
    before = (tmp_path / stats).read_bytes()
    done = run_cli("render", speech, *SMALL, "--config", "mine.yaml", "--stats", stats, cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / stats).read_bytes() == before
    assert not (tmp_path / "speech.mp4").exists()


def test_statistics_that_cannot_be_written_do_not_cost_the_video(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = run_cli("render", speech, *SMALL, "--stats", "/dev/full", cwd=tmp_path)
    assert done.returncode == 0
    assert b"no more statistics" in done.stderr
    assert (tmp_path / "speech.mp4").exists()


def test_the_demo_is_an_input_of_its_own(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("render", "--demo", "--size", "64", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["hello.mp4"]
    both = run_cli("render", "--demo", "other.wav")
    assert both.returncode == 2
    assert b"other.wav is given too" in both.stderr
    assert b"--demo" in run_cli("render").stderr
