"""H.264 and AAC encoded in this process, by the libraries that PyAV brings: for live sessions, in which no frame waits.

Unlike the ffmpeg child (child_encoder.py) it has no pipe and no other process, any frame can be a keyframe, and each
frame is a fragment that leaves in the call that brought the frame. docs/performance.md has the figures.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from musetalk_cli.engine.outputs.fragments import Fragment, InitSegment
from musetalk_cli.engine.outputs.mp4.fmp4 import (
    AUDIO_TRACK,
    VIDEO_TRACK,
    AudioTrack,
    Run,
    Sample,
    VideoTrack,
    fragment,
    init_segment,
)
from musetalk_cli.engine.outputs.mp4.h264 import build_configuration, to_length_prefixed
from musetalk_cli.engine.types.audio import AAC_CODER
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, ByteArray
from musetalk_cli.engine.video.encoder import EncoderSettings, video_options
from musetalk_cli.errors import EncoderError, system_words
from musetalk_cli.installation import install_command

if TYPE_CHECKING:
    from av import AudioCodecContext, VideoCodecContext
    from av.packet import Packet

LAYOUTS = {1: "mono", 2: "stereo"}
# More threads cut each frame into slices. Two gain nothing at 512² and 1 ms at 720p (docs/performance.md), and the
# other cores have other sessions.
NUM_THREADS = 1
NO_LOOK_AHEAD = "zerolatency"
MOTION = "mvrange=64"  # pixels a frame; x264 has tables of them, for up to 512 with 0.4 to 1 MB more
INTRA = 1  # AV_PICTURE_TYPE_I, an IDR with forced-idr
AUDIO_TIME_BASE = Fraction(1, AUDIO_RATE_HZ)


class InProcessEncoder:
    """Encodes one stream: I420 frames and 48 kHz PCM in, fragments of one MP4 out, one for each frame.

    ``init_segment`` is there at once. Time counts from 0 in both tracks: frame n stands at n / frame rate, and the
    audio's first sample beside the first frame. A call may come from any thread, but only one at a time. The GIL is
    free while x264 and AAC compute.

    AAC gives what it has of the audio with a delay of its own, 43 to 64 ms: for a stream that plays without waiting,
    push the audio that much ahead of its frames.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        """Open both codecs. Raises EncoderError where PyAV is missing or refuses the settings."""
        _check_settings(settings)
        av = self._av = _import_av()
        try:
            self._video: VideoCodecContext | None = _open_video(av, settings)
            self._audio: AudioCodecContext | None = _open_audio(av, settings)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise EncoderError(f"cannot open the encoders in this process: {system_words(error)}") from error
        self._settings = settings
        self._track = VideoTrack(
            settings.width, settings.height, settings.frame_rate, build_configuration(self._video.extradata or b"")
        )
        audio = AudioTrack(settings.num_channels, settings.audio_kbps * 1000, self._audio.extradata or b"")
        self.init_segment = InitSegment(init_segment(self._track, audio))
        self._num_frames = 0
        self._num_samples = 0
        self._num_fragments = 0
        self._waiting: list[Packet[Any]] = []  # AAC that goes out with the next frame
        self._is_finished = False

    def encode(self, images: Sequence[ByteArray], audio: AudioArray, *, keyframe: bool = False) -> list[Fragment]:
        """One fragment for each image, with the audio that AAC has finished by then.

        Args:
            images: I420, uint8 (height · 3/2, width) each. They are free again when this returns.
            audio: int16 (n, channels) at 48 kHz, n of any size: what follows the audio so far. It is shared out evenly
                over the images; without an image it waits for the next.
            keyframe: Whether the first image becomes a keyframe (IDR), at which players can begin.

        Raises:
            EncoderError: A shape or a dtype is wrong (then nothing has been encoded), the stream has been finished,
                or a codec failed.
        """
        self._check(images, audio)
        fragments = []
        with self._explained():
            if not images:
                self._push(audio)
            for index, part in enumerate(np.array_split(audio, len(images)) if images else ()):
                self._push(part)
                fragments.append(self._encode_frame(images[index], is_intra=keyframe and index == 0))
        return fragments

    def finish(self) -> list[Fragment]:
        """End the stream: the rest of the audio, as one fragment without frames, if there is any.

        Raises EncoderError as ``encode``.
        """
        self._check_open()
        self._is_finished = True
        if self._num_samples:
            with self._explained():
                self._keep(self._audio_codec.encode(None))
        runs = self._take_audio()
        return [self._cut(runs, is_keyframe=False, num_frames=0)] if runs else []

    def cancel(self) -> None:
        """Nothing waits in here."""

    def close(self) -> None:
        """Release both codecs. Twice is once."""
        self._is_finished = True
        self._video = self._audio = None
        self._waiting.clear()

    @property
    def _audio_codec(self) -> AudioCodecContext:
        if self._audio is None:
            raise EncoderError("the encoder has been closed")
        return self._audio

    def _check_open(self) -> None:
        if self._is_finished:
            raise EncoderError("the encoder has been finished or closed")

    def _check(self, images: Sequence[ByteArray], audio: AudioArray) -> None:
        self._check_open()
        shape = (self._settings.height * 3 // 2, self._settings.width)
        for image in images:
            if image.shape != shape or image.dtype != np.uint8:
                raise EncoderError(f"a frame must be uint8 {shape}, not {image.dtype} {image.shape}")
        num_channels = self._settings.num_channels
        if audio.ndim != 2 or audio.shape[1] != num_channels or audio.dtype != np.int16:
            raise EncoderError(f"audio must be int16 (n, {num_channels}), not {audio.dtype} {audio.shape}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise EncoderError(f"encoding failed after {self._num_frames} frames: {system_words(error)}") from error

    def _push(self, audio: AudioArray) -> None:
        """Give PCM to AAC and keep the packets that it has finished."""
        if not len(audio):
            return
        interleaved = np.ascontiguousarray(audio).reshape(1, -1)
        frame = self._av.AudioFrame.from_ndarray(interleaved, "s16", LAYOUTS[self._settings.num_channels])
        frame.sample_rate, frame.time_base, frame.pts = AUDIO_RATE_HZ, AUDIO_TIME_BASE, self._num_samples
        with contextlib.nullcontext() if self._num_samples else _on_one_cpu():
            packets = self._audio_codec.encode(frame)
        self._num_samples += len(audio)
        self._keep(packets)

    def _keep(self, packets: Sequence[Packet[Any]]) -> None:
        # AAC begins with a packet of nothing, before time 0, which only warms decoders up. Leaving it out spares an
        # edit list, which not every reader follows; the first 21 ms fade in, as they do for whoever joins later.
        self._waiting += [packet for packet in packets if (packet.pts or 0) >= 0]

    def _encode_frame(self, image: ByteArray, *, is_intra: bool) -> Fragment:
        frame = self._av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "yuv420p")
        frame.pts, frame.time_base = self._num_frames, 1 / self._settings.frame_rate
        if is_intra:
            frame.pict_type = INTRA
        packets = self._video.encode(frame) if self._video else []
        if len(packets) != 1:
            raise EncoderError(f"x264 gave {len(packets)} packets for frame {self._num_frames}")
        duration, is_keyframe = self._track.frame_duration, packets[0].is_keyframe
        sample = Sample(to_length_prefixed(bytes(packets[0])), duration, is_keyframe)
        video = Run(VIDEO_TRACK, self._num_frames * duration, [sample])
        self._num_frames += 1
        return self._cut([video, *self._take_audio()], is_keyframe=is_keyframe, num_frames=1)

    def _take_audio(self) -> list[Run]:
        """The audio that waits, as a run if there is any."""
        packets, self._waiting = self._waiting, []
        samples = [Sample(bytes(packet), packet.duration or 0) for packet in packets]
        return [Run(AUDIO_TRACK, packets[0].pts or 0, samples)] if samples else []

    def _cut(self, runs: Sequence[Run], *, is_keyframe: bool, num_frames: int) -> Fragment:
        self._num_fragments += 1
        return Fragment(fragment(self._num_fragments, runs), num_frames, is_keyframe)


def _check_settings(settings: EncoderSettings) -> None:
    if settings.codec != "libx264":
        raise EncoderError(f"{settings.codec} does not encode in this process", hint="use the ffmpeg child, or libx264")
    if settings.width % 2 or settings.height % 2 or min(settings.width, settings.height) < 2:
        raise EncoderError(f"frames must have even sides, not {settings.width} × {settings.height}")
    if settings.num_channels not in LAYOUTS:
        raise EncoderError(f"audio must have 1 or 2 channels, not {settings.num_channels}")


def _import_av() -> Any:
    """PyAV, which takes 0.1 s to load."""
    try:
        import av
    except ImportError as error:
        raise EncoderError(f"encoding in this process needs PyAV: {error}", hint=install_command("session")) from error
    return av


def _open_video(av: Any, settings: EncoderSettings) -> VideoCodecContext:
    """x264 with the child's options, and no frame held back whatever the tune."""
    options = {key: str(value) for key, value in video_options(settings).items() if key not in ("vcodec", "pix_fmt")}
    if "video_bitrate" in options:
        options["b"] = options.pop("video_bitrate")
    tunes = dict.fromkeys([*filter(None, [options.get("tune")]), NO_LOOK_AHEAD])
    context: VideoCodecContext = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = settings.width, settings.height, "yuv420p"
    context.framerate, context.time_base = settings.frame_rate, 1 / settings.frame_rate
    context.thread_count = NUM_THREADS
    context.flags |= int(av.codec.context.Flags.global_header)
    context.options = {**options, "tune": ",".join(tunes), "bf": "0", "forced-idr": "1", "x264-params": MOTION}
    context.open()
    return context


def _open_audio(av: Any, settings: EncoderSettings) -> AudioCodecContext:
    context: AudioCodecContext = av.CodecContext.create("aac", "w")
    context.sample_rate, context.layout, context.format = AUDIO_RATE_HZ, LAYOUTS[settings.num_channels], "fltp"
    context.bit_rate, context.time_base = settings.audio_kbps * 1000, AUDIO_TIME_BASE
    context.options = {"aac_coder": AAC_CODER}
    context.flags |= int(av.codec.context.Flags.global_header)
    context.open()
    return context


@contextlib.contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Shows the calling thread one CPU.

    PyAV converts PCM in a filter graph of its own. With its first samples that starts a thread for each CPU, up to 16,
    which sleep as long as the encoder lives; for one CPU it starts none.
    """
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, before)
