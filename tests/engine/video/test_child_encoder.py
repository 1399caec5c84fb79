"""Fragments of single frames from an ffmpeg: the same stream as in this process, and an end whatever ffmpeg does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fixtures.media import packet_times, read_audio, read_frames
from fixtures.streams import HEIGHT, WIDTH, cut_audio, draw_number, encoder_settings, read_number, sweep
from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.video.child_encoder import ChildEncoder
from musetalk_cli.engine.video.encoder import EncoderSettings
from musetalk_cli.errors import EncoderError

RATE = Fraction(25)
AAC_SAMPLES = 1_024
FRAME_OF_AUDIO = np.zeros((1_920, 1), np.int16)
Open = Callable[..., ChildEncoder]


@pytest.fixture
def open_encoder(ffmpeg: str) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def open_it(settings: EncoderSettings | None = None) -> ChildEncoder:
            settings = settings or encoder_settings(RATE)._replace(fragment_s=0.02, has_index=False)
            return stack.enter_context(contextlib.closing(ChildEncoder(ffmpeg, settings)))

        yield open_it


def pid_of(encoder: ChildEncoder) -> int:
    return encoder._encoder._process._child.pid


def encode_in_background(encoder: ChildEncoder) -> tuple[threading.Thread, list[EncoderError]]:
    """Encode frames until an error comes."""
    errors: list[EncoderError] = []

    def encode() -> None:
        try:
            while True:
                encoder.encode([draw_number(1)], FRAME_OF_AUDIO)
        except EncoderError as error:
            errors.append(error)

    thread = threading.Thread(target=encode)
    thread.start()
    return thread, errors


def test_every_frame_comes_out_in_order_with_its_audio(open_encoder: Open, ffmpeg: str, tmp_path: Path) -> None:
    encoder, audio, parts = open_encoder(), sweep(50 * 1_920), list[InitSegment | Fragment]()
    assert encoder.init_segment is None
    for number, part in enumerate(cut_audio(audio, RATE, 50)):
        parts += encoder.encode([draw_number(number)], part)
    parts += encoder.finish()
    header, *fragments = parts
    assert isinstance(header, InitSegment)
    assert sum(fragment.num_frames for fragment in fragments) == 50
    assert max(fragment.num_frames for fragment in fragments) == 1
    assert [fragment.is_keyframe for fragment in fragments if fragment.num_frames].count(True) == 2
    path = tmp_path / "a.mp4"
    path.write_bytes(b"".join(part.data for part in parts))
    assert [read_number(image) for image in read_frames(ffmpeg, path, WIDTH, HEIGHT)] == list(range(50))
    # ffmpeg puts AAC's first packet, which is silence, in front, and everything else behind it, frames as well.
    times = np.array(packet_times(ffmpeg, path, "v"))
    assert np.diff(times[1:]) == pytest.approx(1 / 25, abs=1e-4)
    assert times[1] - 1 / 25 == pytest.approx(AAC_SAMPLES / 48_000, abs=1e-4)
    decoded = read_audio(ffmpeg, path)[AAC_SAMPLES : AAC_SAMPLES + len(audio), 0].astype(float)
    assert np.corrcoef(decoded[4_096:], audio[4_096 : len(decoded), 0])[0, 1] > 0.99


def test_what_was_finished_or_closed_takes_nothing(open_encoder: Open) -> None:
    finished, closed = open_encoder(), open_encoder()
    finished.encode([draw_number(0)], FRAME_OF_AUDIO)
    finished.finish()
    closed.encode([draw_number(0)], FRAME_OF_AUDIO)
    closed.close()
    closed.close()
    for encoder in (finished, closed):
        with pytest.raises(EncoderError, match="finished or closed"):
            encoder.encode([draw_number(1)], FRAME_OF_AUDIO)
        with pytest.raises(EncoderError, match="finished or closed"):
            encoder.finish()


def test_an_ffmpeg_that_dies_is_told(open_encoder: Open) -> None:
    encoder = open_encoder()
    encoder.encode([draw_number(0)], FRAME_OF_AUDIO)
    os.kill(pid_of(encoder), signal.SIGKILL)
    thread, errors = encode_in_background(encoder)
    thread.join(20)
    assert "was killed by SIGKILL" in str(errors[0])


def test_settings_that_ffmpeg_refuses_are_told(open_encoder: Open) -> None:
    encoder = open_encoder(encoder_settings(RATE)._replace(preset="warp9"))
    thread, errors = encode_in_background(encoder)
    thread.join(20)
    assert "ffmpeg ended" in str(errors[0])


def test_cancelling_frees_a_call_that_waits_for_a_stalled_ffmpeg(open_encoder: Open) -> None:
    encoder = open_encoder()
    os.kill(pid_of(encoder), signal.SIGSTOP)
    thread, errors = encode_in_background(encoder)
    encoder.cancel()
    thread.join(20)
    assert not thread.is_alive()
    assert "cancelled" in str(errors[0])
    encoder.close()
