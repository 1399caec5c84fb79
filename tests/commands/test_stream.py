"""``musetalk stream`` as a user runs it, with everything that needs no microphone and no server."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.fakes import tone
from fixtures.media import describe, packet_times, read_audio, read_frames, write_wav

Run = Callable[..., subprocess.CompletedProcess[bytes]]
SMALL = ("--size", "96", "--block", "0.4")
RAW = ("--input", "-", "--format", "s16le", "--rate", "16000")


def start(*args: object, **options: object) -> subprocess.Popen[bytes]:
    """Start the real command; its output and its messages are pipes."""
    command = [sys.executable, "-m", "musetalk_cli", "stream", *map(str, args)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, **pipes)  # type: ignore[call-overload, no-any-return]


def at_16_khz(duration_s: float) -> bytes:
    times = np.arange(int(duration_s * 16_000)) / 16_000
    return (8_000 * np.sin(2 * np.pi * 440 * times)).astype("<i2").tobytes()


def loudness(audio: np.ndarray, window: int = 960) -> np.ndarray:
    """Root mean square of every 20 ms."""
    whole = audio[: len(audio) // window * window, 0].reshape(-1, window).astype(float)
    return np.sqrt((whole**2).mean(axis=1))


def test_a_file_is_streamed_at_its_own_pace_and_whole(run_cli: Run, speech: Path, ffmpeg: str) -> None:
    done = run_cli("stream", "-i", speech, *SMALL)
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_frames(ffmpeg, done.stdout, 96, 96)) == 63
    assert done.stderr.decode().splitlines()[-1].startswith("63 frames, 2.5 s, latency ")


def test_fragments_leave_with_every_frame(run_cli: Run, speech: Path) -> None:
    done = run_cli("stream", "-i", speech, *SMALL)
    assert 63 <= done.stdout.count(b"moof") <= 63 + 150, "a frame each, and audio between"
    assert b"mfra" not in done.stdout, "nobody remembers every fragment for an index at the end"


def test_without_pace_a_file_streams_as_it_is_rendered(run_cli: Run, speech: Path, ffmpeg: str, tmp_path: Path) -> None:
    one_ffmpeg = tmp_path / "one.yaml"
    one_ffmpeg.write_text("ffmpeg: bundled\n")
    done = run_cli("stream", "-i", speech, "--no-pace", "--size", "96", "--config", one_ffmpeg)
    rendered = run_cli("render", speech, "-o", "-", "--size", "96", "--config", one_ffmpeg)
    assert done.returncode == 0, done.stderr.decode()
    streamed, expected = (read_frames(ffmpeg, data, 96, 96) for data in (done.stdout, rendered.stdout))
    assert np.array_equal(streamed, expected)


def test_a_matroska_file_says_the_frame_rate(run_cli: Run, speech: Path, ffmpeg: str, tmp_path: Path) -> None:
    done = run_cli("stream", "-i", speech, "--no-pace", "--size", "96", "-o", "talk.mkv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert ", 25 fps, " in describe(ffmpeg, tmp_path / "talk.mkv")


def test_a_long_way_through_is_the_same_in_any_block(run_cli: Run, speech: Path, ffmpeg: str) -> None:
    calm = [run_cli("stream", "-i", speech, "--no-pace", "--size", "96", "--block", block) for block in ("0.2", "4")]
    first, second = (read_frames(ffmpeg, done.stdout, 96, 96).astype(int) for done in calm)
    assert np.abs(first - second).max() <= 2, "the net's arithmetic, to the last bit of a float"


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"), [("s16le", 8_000, 1), ("f32le", 96_000, 2), ("u8", 22_050, 1)]
)
def test_raw_samples_of_any_kind(run_cli: Run, ffmpeg: str, name: str, rate_hz: int, channels: int) -> None:
    times = np.arange(int(1.5 * rate_hz)) / rate_hz
    wave = np.repeat(0.4 * np.sin(2 * np.pi * 440 * times)[:, None], channels, axis=1)
    scaled = {"s16le": (wave * 32767).astype("<i2"), "f32le": wave.astype("<f4"), "u8": (wave * 127 + 128).astype("u1")}
    options = ("--input", "-", "--format", name, "--rate", rate_hz, "--channels", channels)
    done = run_cli("stream", *options, *SMALL, input=scaled[name].tobytes())
    assert done.returncode == 0, done.stderr.decode()
    heard = read_audio(ffmpeg, done.stdout, channels)
    loud = np.flatnonzero(loudness(heard) > 3_000)
    assert (loud[-1] - loud[0] + 1) * 0.02 == pytest.approx(1.5, abs=0.06)
    crossings = np.count_nonzero(np.diff(np.signbit(heard[loud[5] * 960 : loud[-5] * 960, 0].astype(int))))
    assert crossings / (2 * (loud[-5] - loud[5]) * 0.02) == pytest.approx(440, rel=0.02)


def test_the_rate_that_is_taken_is_told(run_cli: Run) -> None:
    done = run_cli("stream", "--input", "-", "--format", "s16le", *SMALL, "--no-pace", input=bytes(24_000))
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == b"taking s16le at 24000 Hz; --rate names another rate"


def test_a_pause_on_stdin_is_live_silence_and_the_end_is_the_end(ffmpeg: str) -> None:
    child = start(*RAW, *SMALL)
    assert child.stdin
    assert child.stdout
    out = [child.stdout.read(8)]  # it runs, and idles
    reader = threading.Thread(target=lambda: out.append(child.stdout.read()))  # type: ignore[union-attr]
    reader.start()
    try:
        for pause_s in (1.5, 2.0, 0.0):
            child.stdin.write(at_16_khz(0.8))
            child.stdin.flush()
            time.sleep(pause_s)
        child.stdin.close()
        assert child.wait(40) == 0
    finally:
        child.kill()
        reader.join()
        child.stdout.close()
        child.stderr.close()  # type: ignore[union-attr]
    video = b"".join(out)
    audio = read_audio(ffmpeg, video)
    heard = np.pad(loudness(audio) > 1_000, 1)
    runs = np.flatnonzero(np.diff(heard.astype(int))).reshape(-1, 2) * 0.02
    assert len(runs) == 3, "sentences, with silence between them"
    assert (runs[:, 1] - runs[:, 0]).sum() == pytest.approx(2.4, abs=0.1), "all of the audio, once"
    assert len(read_frames(ffmpeg, video, 96, 96)) / 25 == pytest.approx(len(audio) / 48_000, abs=0.08)


def test_idle_before_the_voice_begins(ffmpeg: str) -> None:
    """Frames come although stdin has said nothing yet, also from a container."""
    for options in (RAW, ("--input", "-")):
        child = start(*options, *SMALL, "--duration", "1.2", "-q", stdin=subprocess.PIPE)
        try:
            data = child.stdout.read()  # type: ignore[union-attr]
            assert child.wait(30) == 0
        finally:
            child.kill()
            child.communicate()
        assert len(read_frames(ffmpeg, data, 96, 96)) == 30
        assert not read_audio(ffmpeg, data, 2 if options != RAW else 1).any()


def test_several_targets_from_one_encode(run_cli: Run, speech: Path, tmp_path: Path, ffmpeg: str) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(0.5)
    packets: list[bytes] = []
    is_over = threading.Event()

    def receive() -> None:
        while not is_over.is_set():
            try:
                packets.append(receiver.recv(2048))
            except TimeoutError:
                continue

    thread = threading.Thread(target=receive)
    thread.start()
    outputs = ["-o", "-", "-o", "take.mp4", "-o", "hls/", "-o", f"udp://127.0.0.1:{receiver.getsockname()[1]}"]
    done = run_cli("stream", "-i", speech, *SMALL, *outputs, cwd=tmp_path)
    is_over.set()
    thread.join()
    receiver.close()
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == (tmp_path / "take.mp4").read_bytes()
    assert b"mfra" in done.stdout[-100_000:], "a file has an index"
    assert len(read_frames(ffmpeg, done.stdout, 96, 96)) == 63
    assert len(read_frames(ffmpeg, tmp_path / "hls" / "index.m3u8", 96, 96)) == 63
    (tmp_path / "udp.ts").write_bytes(b"".join(packets))
    assert {len(packet) for packet in packets} <= {188 * count for count in range(1, 8)}
    assert len(packet_times(ffmpeg, tmp_path / "udp.ts", "v")) == 63


@pytest.mark.needs("strace")
def test_no_file_but_the_outputs_is_opened_for_writing(speech: Path, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    targets = ["-o", "take.mp4", "-o", "hls/", "-o", "udp://127.0.0.1:9"]
    command = [sys.executable, "-B", "-m", "musetalk_cli", "stream", "-i", str(speech), *SMALL, *targets]
    trace = ["strace", "-f", "-qq", "-e", "trace=open,openat,creat", "-o", str(log)]
    subprocess.run([*trace, *command], check=True, cwd=tmp_path, capture_output=True)
    written = {
        Path(line.split('"')[1]).name
        for line in log.read_text().splitlines()
        if any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT"))
        and '"/dev/' not in line
        and " = -1 " not in line
    }
    assert "take.mp4" in written
    assert {name for name in written if not name.startswith("index.")} == {"take.mp4"}


def test_statistics(run_cli: Run, speech: Path, tmp_path: Path) -> None:
    done = run_cli("stream", "-i", speech, *SMALL, "-o", "take.mp4", "--stats", "s.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    records = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    live = records[-1]["live"]
    assert records[-1]["event"] == "end"
    assert records[-1]["num_frames"] == 63
    assert set(live["latency"]["steps"]) == {"capture", "features", "model", "composite", "encode"}
    assert abs(live["skew_ms"]) <= 20
    assert live["targets"][0]["num_bytes"] == (tmp_path / "take.mp4").stat().st_size
    usage = records[-1]["usage"]
    assert usage["rss_mb"] > 20
    assert set(usage) == {"cpu_percent", "rss_mb", "num_threads", "num_files", "gpu_mb"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_delivers_what_is_in_flight(tmp_path: Path, ffmpeg: str, number: int, status: int) -> None:
    child = start(*RAW, *SMALL, "-o", "take.mp4", cwd=tmp_path)
    try:
        feed(child, tmp_path / "take.mp4")
        child.send_signal(number)
        _, messages = child.communicate(timeout=30)
        assert child.returncode == status, messages.decode()
    finally:
        child.kill()
        child.wait()
    assert b"stopping" in messages
    images, audio = read_frames(ffmpeg, tmp_path / "take.mp4", 96, 96), read_audio(ffmpeg, tmp_path / "take.mp4")
    assert len(images) / 25 == pytest.approx(len(audio) / 48_000, abs=0.08)


def feed(child: subprocess.Popen[bytes], output: Path, at_least: int = 20_000) -> None:
    """Speak to it in real time until its output has grown."""
    assert child.stdin
    deadline = time.monotonic() + 40
    while not (output.exists() and output.stat().st_size > at_least):
        assert time.monotonic() < deadline, "nothing came out"
        child.stdin.write(at_16_khz(0.1))
        child.stdin.flush()
        time.sleep(0.1)


def test_a_second_ctrl_c_aborts(tmp_path: Path, ffmpeg: str) -> None:
    child = start(*RAW, *SMALL, "-o", "take.mp4", cwd=tmp_path)
    try:
        feed(child, tmp_path / "take.mp4")
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    assert len(read_frames(ffmpeg, tmp_path / "take.mp4", 96, 96)) > 0


def test_a_player_that_is_closed_is_a_clean_end() -> None:
    child = start(*RAW, *SMALL, stdin=subprocess.PIPE)
    try:
        assert child.stdout
        assert child.stdin
        child.stdin.write(at_16_khz(1.0))
        child.stdin.flush()
        assert child.stdout.read(2_000)[4:8] == b"ftyp"
        child.stdout.close()
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.communicate()


@pytest.mark.needs("ffplay")
def test_ffplay_plays_it_and_may_be_closed(speech: Path) -> None:
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    child = start("-i", speech, *SMALL, stdin=subprocess.DEVNULL)
    low_delay = ["-fflags", "nobuffer", "-flags", "low_delay", "-probesize", "5000", "-analyzeduration", "0"]
    player = subprocess.Popen(
        ["ffplay", "-v", "error", "-autoexit", *low_delay, "-"], stdin=child.stdout, env=environment,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        child.stdout.close()  # type: ignore[union-attr]
        assert child.wait(40) == 0
        _, messages = player.communicate(timeout=20)
        assert (player.returncode, messages) == (0, b"")
    finally:
        for process in (child, player):
            process.kill()
            process.wait()
        child.stderr.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ([], 2, "there is no input, and standard input is read only when asked to"),
        (["--mic", "-i", "a.wav"], 2, "give only one of --mic, --input and --demo"),
        (["--mic", "--no-pace"], 2, "--no-pace"),
        (["-i", "a.wav", "--device", "1"], 2, "--device"),
        (["-i", "a.wav", "--format", "s16le"], 2, "--format"),
        (["-i", "-", "--format", "mp3"], 2, "--format"),
        (["-i", "-", "--format", "s16le", "--rate", "5"], 2, "--rate"),
        (["-i", "-", "--duration", "nan"], 2, "--duration"),
        (["-i", "-", "--duration", "inf"], 2, "--duration"),
        (["-i", "-", "--block", "0.1"], 2, "--block"),
        (["-i", "-", "--block", "0.25"], 2, "multiple of 0.02"),
        (["-i", "-", "--when-slow", "panic"], 2, "--when-slow"),
        (["-i", "-", "--encoder", "h266"], 2, "--encoder"),
        (["-i", "missing.wav"], 1, "missing.wav"),
        (["-i", ""], 1, "the input has no name"),
        (["-i", "-", "-o", ""], 1, "the output has no name"),
        (["-i", "http://127.0.0.1:1/radio.mp3", "-o", "a.mp4"], 1, "refused) (check the address"),
        (["-i", "http://no-such-host.invalid/radio.mp3", "-o", "a.mp4"], 1, "no-such-host.invalid"),
        (["-i", "-", "-o", "udp://127.0.0.1"], 1, "lacks a port"),
        (["-i", "-", "-o", "gopher://x"], 1, "gopher"),
        (["-i", "-", "-o", "a.mp4", "-o", "a.mp4"], 1, "same file"),
        (["-i", "-", "-o", "rtmp://host/live/key", "-o", "rtmp://host/live/key"], 1, "is named twice"),
        (["-i", "-", "-o", "hls/", "-o", "hls/index.m3u8"], 1, "one output is named twice"),
        (["-i", "-", "-o", "old.mp4"], 1, "exists already"),
        (["-i", "-", "--encoder", "nvenc", "-o", "a.mp4"], 1, "nvenc"),
        ([*RAW, "-o", "rtmp://127.0.0.1:1/live/key"], 1, "refused"),
        ([*RAW, "-o", "rtmp://no-such-host.invalid/live/key"], 1, "no-such-host.invalid"),
    ],
)
def test_bad_input_is_one_clear_line(run_cli: Run, tmp_path: Path, args: list[str], status: int, words: str) -> None:
    if "nvenc" in args and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine may have NVENC")
    (tmp_path / "old.mp4").write_bytes(b"old")
    done = run_cli(
        "stream", *args, *(SMALL[:2] if "--block" in args else SMALL), "-q", cwd=tmp_path, input=at_16_khz(20)
    )
    assert done.returncode == status, done.stderr.decode()
    said = done.stderr.decode()
    assert words in said
    assert "Traceback" not in said
    assert status == 2 or len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.mp4"]


def test_a_port_that_is_taken(run_cli: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        target = f"srt://127.0.0.1:{other.getsockname()[1]}?mode=listener"
        done = run_cli("stream", *RAW, *SMALL, "-o", target, "-q", input=at_16_khz(20))
    assert done.returncode == 1
    assert b"cannot stream to srt://127.0.0.1" in done.stderr


def test_a_terminal_is_not_a_place_for_video(speech: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        child = start("-i", speech, *SMALL, stdin=subprocess.DEVNULL, stdout=theirs)
        _, messages = child.communicate(timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert child.returncode == 1
    assert b"standard output is a terminal" in messages


def test_a_closed_stdin_is_reported(run_cli: Run) -> None:
    done = run_cli("stream", *RAW, *SMALL, "-q", preexec_fn=lambda: os.close(0))
    assert done.returncode == 1
    assert done.stderr == b"musetalk: error: standard input is closed (pipe raw samples into it)\n"


def test_an_empty_stdin_is_reported(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("stream", *RAW, *SMALL, "-o", "take.mp4", "-q", stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"musetalk: error: standard input holds no audio (pipe raw samples into it)\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"RIFF\x24\x80\0\0WAVE", "WAV"), (b"OggS\0\2", "Ogg"), (b"fLaC\0\0", "FLAC"), (b"\0\0\0\x1cftypM4A ", "MP4")],
)
def test_a_container_is_not_taken_for_samples(run_cli: Run, tmp_path: Path, head: bytes, kind: str) -> None:
    done = run_cli("stream", *RAW, *SMALL, "-o", "take.mp4", "-q", input=head + bytes(9_000), cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert f"standard input holds {kind}, and not bare s16le samples (leave --format out" in line


def test_a_file_with_audio_of_other_kinds(run_cli: Run, tmp_path: Path, ffmpeg: str) -> None:
    stereo = write_wav(tmp_path / "stereo.wav", tone(1.0, 2)[::2], 24_000)
    done = run_cli("stream", "-i", stereo, *SMALL, "-o", "take.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert "48000 Hz, stereo" in describe(ffmpeg, tmp_path / "take.mp4")


def test_a_server_that_is_not_there_is_told_without_options_of_ffmpeg(run_cli: Run, speech: Path) -> None:
    done = run_cli("stream", "--input", speech, "-o", "rtmp://127.0.0.1:1/live/key", *SMALL)
    assert done.returncode == 1
    assert "Connection" in done.stderr.decode()
    assert "tcp_nodelay" not in done.stderr.decode()
