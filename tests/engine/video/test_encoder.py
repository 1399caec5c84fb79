from __future__ import annotations

import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.fakes import MemorySink, encoder_process
from musetalk_cli.engine.outputs.fragments import Fragment
from musetalk_cli.engine.runtime.stage import RunState
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import Cue, FrameBatch
from musetalk_cli.engine.video.encoder import EncoderProcess, EncoderSettings, build_ffmpeg_args
from musetalk_cli.errors import EncoderError, SinkError
from tests.engine.outputs.test_fragments import STREAM, box

SETTINGS = EncoderSettings(768, 432, Fraction(30_000, 1001), 2, "ultrafast", "zerolatency", 23, None, 128, 1.0)


def options_of(settings: EncoderSettings) -> dict[str, str]:
    args = build_ffmpeg_args("ffmpeg", settings, "pipe:9")
    output = args[args.index("-map") :]
    return {key: value for key, value in pairwise(output) if key.startswith("-")}


def test_inputs_are_told_what_they_are_and_not_probed() -> None:
    args = " ".join(build_ffmpeg_args("/opt/ffmpeg", SETTINGS, "pipe:9"))
    assert args.startswith("/opt/ffmpeg ")
    assert "-pix_fmt yuv420p" in args.split("-i pipe:0")[0]
    assert "-s 768x432" in args
    assert "-framerate 30000/1001" in args
    assert "-f s16le" in args.split("-i pipe:9")[0]
    assert args.count("-analyzeduration 0") == 2
    assert args.count("-probesize 32") == 2


def test_threads_are_the_encoders_own_choice_or_ours() -> None:
    assert "-threads:v" not in options_of(SETTINGS)
    assert options_of(SETTINGS._replace(num_threads=1))["-threads:v"] == "1"


def test_one_fragmented_mp4_for_players_everywhere() -> None:
    options = options_of(SETTINGS)
    assert options["-movflags"] == "frag_keyframe+empty_moov+default_base_moof"
    assert (options["-vcodec"], options["-preset"], options["-tune"]) == ("libx264", "ultrafast", "zerolatency")
    assert (options["-pix_fmt"], options["-colorspace"], options["-color_range"]) == ("yuv420p", "bt709", "tv")
    assert (options["-acodec"], options["-ar"], options["-b:a"]) == ("aac", "48000", "128k")
    assert options["-aac_coder"] == "fast"
    assert (options["-crf"], options["-g"]) == ("23", "30")


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({"preset": "medium", "tune": "none"}, "delay_moov"),
        ({"preset": "slow", "tune": "film"}, "delay_moov"),
        ({"preset": "medium"}, "empty_moov"),
        ({"tune": "none"}, "empty_moov"),
        ({"preset": "medium", "tune": "none", "codec": "h264_nvenc"}, "empty_moov"),
        ({"preset": "medium", "tune": "none", "fragment_s": 0.02}, "empty_moov"),
    ],
)
def test_the_header_waits_only_where_a_file_has_b_frames(changes: dict[str, Any], header: str) -> None:
    assert header in options_of(SETTINGS._replace(**changes))["-movflags"].split("+")


def test_a_bitrate_replaces_the_quality() -> None:
    options = options_of(SETTINGS._replace(video_kbps=2_000, tune="none", keyframe_interval_s=2.0))
    assert options["-b:v"] == options["-maxrate"] == options["-bufsize"] == "2000k"
    assert options["-g"] == "60"
    assert "-crf" not in options
    assert "-tune" not in options


def test_nvenc_holds_no_frame_back() -> None:
    """Without delay and zerolatency it keeps some; without forced-idr, no player can begin at its keyframes."""
    options = options_of(SETTINGS._replace(codec="h264_nvenc"))
    flags = ("-zerolatency", "-delay", "-bf", "-forced-idr", "-preset", "-tune")
    assert [options[flag] for flag in flags] == ["1", "0", "0", "1", "p2", "ull"]
    assert (options["-rc"], options["-cq"], options["-b:v"]) == ("vbr", "23", "0")


@pytest.mark.parametrize(("crf", "quality"), [(0, "100"), (23, "55"), (51, "1")])
def test_videotoolbox_has_a_scale_of_its_own(crf: int, quality: str) -> None:
    options = options_of(SETTINGS._replace(codec="h264_videotoolbox", crf=crf))
    assert (options["-realtime"], options["-bf"], options["-q:v"]) == ("1", "0", quality)
    assert not {"-crf", "-tune", "-preset"} & set(options)


def test_a_live_stream_has_short_fragments_and_no_index() -> None:
    options = options_of(SETTINGS._replace(fragment_s=0.02, has_index=False))
    assert options["-frag_duration"] == "20000"
    assert options["-movflags"] == "frag_keyframe+empty_moov+default_base_moof+skip_trailer"
    assert options["-flush_packets"] == "1"
    assert "-frag_duration" not in options_of(SETTINGS)


def test_a_keyframe_is_at_least_every_frame() -> None:
    assert options_of(SETTINGS._replace(keyframe_interval_s=0.01))["-g"] == "1"


def deliver(folder: Path, output: bytes, sink: MemorySink, *, status: int = 0) -> RunState:
    """A run whose encoder writes ``output`` when its frames have ended, in steps of 700 bytes."""
    (folder / "output").write_bytes(output)
    program = folder / "ffmpeg"
    program.write_text(
        f"#!/bin/sh\ncat > /dev/null\ndd if={folder}/output bs=700 2> /dev/null\n"
        f"echo '[mp4 @ 0x5] [error] it was too much' >&2\nexit {status}\n"
    )
    program.chmod(0o755)
    state = RunState()
    encoder = EncoderProcess(str(program), SETTINGS).attach(sink, state, StageTimer())
    try:
        encoder.start()
        encoder.finish()
        for stage in encoder.stages:
            stage.join()
    finally:
        encoder.close()
    return state


def test_every_byte_of_a_whole_stream_is_delivered(tmp_path: Path) -> None:
    sink = MemorySink()
    state = deliver(tmp_path, STREAM + box(b"mfra", 50), sink)
    assert state.error is None
    assert sink.data == STREAM + box(b"mfra", 50)
    assert (sink.is_whole, sink.is_final) == (True, True)


@pytest.mark.parametrize("num_missing", [1, 90])
def test_an_encoder_that_dies_leaves_whole_fragments(tmp_path: Path, num_missing: int) -> None:
    sink = MemorySink()
    state = deliver(tmp_path, STREAM + box(b"mdat", 90)[:-num_missing], sink, status=3)
    assert sink.data == STREAM
    assert sink.is_whole is False
    assert isinstance(state.error, EncoderError)
    assert str(state.error) == "ffmpeg ended with exit status 3 after 0 frames: it was too much"


def test_a_stream_whose_trailer_cannot_be_written_is_not_whole(tmp_path: Path) -> None:
    class FullDisk(MemorySink):
        def write(self, fragment: Fragment) -> None:
            if fragment.is_trailer:
                raise SinkError("no space left")
            super().write(fragment)

    sink = FullDisk()
    state = deliver(tmp_path, STREAM + box(b"mfra", 50), sink)
    assert isinstance(state.error, SinkError)
    assert sink.data == STREAM
    assert sink.is_whole is False


def test_closing_one_that_still_waits_for_frames_ends_it(ffmpeg: str) -> None:
    """As an interruption does between its start and its last frame."""
    encoder = encoder_process(ffmpeg).attach(MemorySink(), RunState(), StageTimer())
    encoder.start()
    encoder.close()
    assert all(stage.join(0) for stage in encoder.stages)


def test_an_interruption_drops_what_waits_for_ffmpeg(tmp_path: Path) -> None:
    """Of the batch that is being written everything goes, frames and audio; of those behind it nothing does."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\nfor each; do case $each in pipe:[01]) ;; pipe:*) fd=${each#pipe:} ;; esac; done\n"
        f"while [ ! -e {tmp_path}/go ]; do sleep .01; done\n"
        f"cat /dev/fd/$fd > {tmp_path}/audio & cat > {tmp_path}/frames; wait\n"
    )
    program.chmod(0o755)
    begun, left = threading.Event(), []

    def note(frame: int) -> None:
        left.append(frame)
        begun.set()

    encoder = EncoderProcess(str(program), SETTINGS).attach(MemorySink(), RunState(), StageTimer(), note)
    try:
        encoder.start()
        encoder.write(batch(0, epoch=0))
        assert begun.wait(30)
        encoder.write(batch(4, epoch=0))
        assert encoder.drop() == (4, 4 * 1_600)
        encoder.write(batch(8, epoch=0))  # it was on its way
        (tmp_path / "go").touch()
        encoder.write(batch(4, epoch=1))
        encoder.finish()
        for stage in encoder.stages:
            stage.join()
    finally:
        encoder.close()
    assert left == [4, 8]
    frames = np.fromfile(tmp_path / "frames", np.uint8).reshape(-1, FRAME_BYTES)
    assert frames[:, 0].tolist() == [0, 1, 2, 3, 104, 105, 106, 107]
    audio = np.fromfile(tmp_path / "audio", np.int16)
    assert np.unique(audio, return_counts=True)[1].tolist() == [2 * 4 * 1_600] * 2
    assert encoder.drop() == (8, 8 * 1_600), "all of it has left"


FRAME_BYTES = 768 * 432 * 3 // 2


def batch(first: int, epoch: int) -> FrameBatch:
    """Four frames of 1/30 s that hold their number, 100 more with each epoch, and their stereo audio."""
    images = tuple(np.full((648, 768), 100 * epoch + first + index, np.uint8) for index in range(4))
    audio = np.full((4 * 1_600, 2), 1 + epoch, np.int16)
    return FrameBatch(images, audio, range(first, first + 4), Cue(epoch, audio_start=first * 1_600))
