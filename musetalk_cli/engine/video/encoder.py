"""One ffmpeg for the whole run: frames and audio go in through two pipes, fragmented MP4 comes out."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from musetalk_cli.engine.outputs.fragments import Fragment, FragmentSplitter, InitSegment
from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.runtime.ffmpeg import FfmpegProcess, describe_status
from musetalk_cli.engine.runtime.ffmpeg_choice import explain_failure
from musetalk_cli.engine.runtime.stage import Channel, RunState, Stage
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.audio import AAC_CODER
from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ, AudioArray, ByteArray, FrameBatch
from musetalk_cli.engine.video.output import OnLeft, ignore_left
from musetalk_cli.errors import EncoderError
from musetalk_cli.system.extra_input import open_extra_input
from musetalk_cli.system.heap import keeping_environment
from musetalk_cli.system.lending import LendingWriter
from musetalk_cli.system.pipes import widen

# Batches of frames that wait for the encoder: with the default of 8 frames, two thirds of a second of video.
DEPTH_BATCHES = 2
# The audio of a batch goes before its frames and must never keep them back: an encoder that looks ahead asks for many
# frames before it takes more audio. So the frames are the bound for both, and this number is never reached.
DEPTH_AUDIO = 4096
# Packets that ffmpeg itself holds per input; a packet of video is a whole frame of up to 7 MB.
FRAME_PACKETS, AUDIO_PACKETS = 8, 64
READ_BYTES = 1 << 16
BT709 = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}
# How many of the frames that went in come out only with the next one: the MP4 writer keeps one until it knows how
# long it lasts. That no more do requires the audio's lead, see blocks.py.
NUM_LATE = 1


class EncoderSettings(NamedTuple):
    """What ffmpeg must know: ``width`` and ``height`` in pixels (even), and the values of the configuration.

    ``codec`` is ffmpeg's name of the video encoder. ``fragment_s``: a fragment of the MP4 leaves at least this often,
    and not only with each keyframe; for live streams, in which nothing may wait. ``has_index``: an index of all
    fragments ends the MP4, so that players find their way about a file; ffmpeg remembers them for it, 10 MB an hour
    with a frame in each. ``num_threads`` of the child's video encoder: None for as many as it likes, each of which may
    encode a slice of the frame.
    """

    width: int
    height: int
    frame_rate: Fraction
    num_channels: int
    preset: str
    tune: str
    crf: int
    video_kbps: int | None
    audio_kbps: int
    keyframe_interval_s: float
    codec: str = "libx264"
    fragment_s: float | None = None
    has_index: bool = True
    num_threads: int | None = None

    @property
    def reorders_frames(self) -> bool:
        """Whether some frames are coded behind later ones (B-frames)."""
        return self.codec == "libx264" and self.preset != "ultrafast" and self.tune != "zerolatency"


def build_ffmpeg_args(ffmpeg: str, settings: EncoderSettings, audio_url: str) -> list[str]:
    """The command line: I420 frames on stdin, 16-bit PCM from ``audio_url``, fragmented MP4 on stdout."""
    import ffmpeg as builder

    video, audio = raw_inputs(settings, audio_url)
    options = {**video_options(settings), **_audio_options(settings), **_container_options(settings)}
    if settings.num_threads:
        options["threads:v"] = settings.num_threads
    output = builder.output(video, audio, "pipe:1", **options)
    quiet = output.global_args("-hide_banner", "-loglevel", "level+warning", "-nostats")
    return list(builder.compile(quiet, cmd=ffmpeg))


def raw_inputs(settings: EncoderSettings, audio_url: str, pixel_format: str = "yuv420p") -> tuple[Any, Any]:
    """Frames on stdin and 16-bit PCM from ``audio_url``, as inputs of ffmpeg-python.

    The frames are tagged where they come in: from version 7 on, ffmpeg takes what is untagged for BT.601, and converts
    it to what the output's tags say.
    """
    import ffmpeg as builder

    rate = f"{settings.frame_rate.numerator}/{settings.frame_rate.denominator}"
    # ffmpeg would otherwise read seconds of raw input to find out what we tell it anyway.
    at_once = {"probesize": 32, "analyzeduration": 0}
    shape = {"pix_fmt": pixel_format, "s": f"{settings.width}x{settings.height}", "framerate": rate}
    wave = {"ar": AUDIO_RATE_HZ, "ac": settings.num_channels}
    video = builder.input("pipe:0", f="rawvideo", **shape, **BT709, **at_once, thread_queue_size=FRAME_PACKETS)
    audio = builder.input(audio_url, f="s16le", **wave, **at_once, thread_queue_size=AUDIO_PACKETS)
    return video.video, audio.audio


def video_options(settings: EncoderSettings) -> dict[str, Any]:
    """ffmpeg's options for the video encoder: H.264, 4:2:0, BT.709."""
    options: dict[str, Any] = {
        "vcodec": settings.codec,
        **_speed_options(settings),
        "pix_fmt": "yuv420p",
        "g": max(1, round(settings.keyframe_interval_s * settings.frame_rate)),
        **BT709,
        "chroma_sample_location": "center",
    }
    if settings.video_kbps is None:
        return {**options, **_quality_options(settings)}
    kbps = settings.video_kbps
    return {**options, "video_bitrate": f"{kbps}k", "maxrate": f"{kbps}k", "bufsize": f"{kbps}k"}


def _speed_options(settings: EncoderSettings) -> dict[str, Any]:
    """Options of each encoder that make it quick, and let it hold no frame back."""
    if settings.codec == "h264_nvenc":
        return {"preset": "p2", "tune": "ull", "zerolatency": 1, "delay": 0, "bf": 0, "forced-idr": 1}
    if settings.codec == "h264_videotoolbox":
        return {"realtime": 1, "bf": 0}
    tune = {} if settings.tune == "none" else {"tune": settings.tune}
    return {"preset": settings.preset, **tune}


def _quality_options(settings: EncoderSettings) -> dict[str, Any]:
    """Constant quality, on each encoder's own scale."""
    if settings.codec == "h264_nvenc":
        return {"rc": "vbr", "cq": settings.crf, "video_bitrate": 0}
    if settings.codec == "h264_videotoolbox":
        return {"q:v": max(1, round(100 - settings.crf * 100 / 51))}
    return {"crf": settings.crf}


def _audio_options(settings: EncoderSettings) -> dict[str, Any]:
    bitrate = f"{settings.audio_kbps}k"
    return {"acodec": "aac", "aac_coder": AAC_CODER, "ar": AUDIO_RATE_HZ, "audio_bitrate": bitrate}


def _container_options(settings: EncoderSettings) -> dict[str, Any]:
    # The times of frames that are coded in another order begin below zero, which only an edit list says; ffmpeg writes
    # one where the header may wait for the first fragment. Without it the video begins two frames late, and the audio
    # has a gap behind its first packet. No frame of a live stream may wait; its readers know no edit list.
    header = "delay_moov" if settings.reorders_frames and settings.fragment_s is None else "empty_moov"
    flags = f"frag_keyframe+{header}+default_base_moof" + ("" if settings.has_index else "+skip_trailer")
    options = {"f": "mp4", "movflags": flags, "flush_packets": 1}
    # Half a frame, so that every frame ends a fragment; frag_every_frame writes double times with AAC (measured).
    fragments = {"frag_duration": round(settings.fragment_s * 1e6)} if settings.fragment_s else {}
    return {**options, **fragments}


BuildArgs = Callable[[str, EncoderSettings, str], list[str]]


class EncoderProcess(FfmpegProcess):
    """ffmpeg as the encoder, with a pipe for frames (``stdin``) and a second input for ``audio``.

    It starts at once, so that it is ready when the first frame is.
    """

    def __init__(self, ffmpeg: str, settings: EncoderSettings, build_args: BuildArgs = build_ffmpeg_args) -> None:
        self.audio = open_extra_input()
        try:
            argv = build_args(ffmpeg, settings, self.audio.url)
            # A frame's memory that went back to the system would be cleared and mapped anew for the next.
            environment = keeping_environment()
            super().__init__(argv, stdin=subprocess.PIPE, pass_fds=self.audio.pass_fds, environment=environment)
        except BaseException:
            self.audio.close()
            raise
        self.audio.connect(self.pid, lambda: self.is_running)
        widen(self.stdin)
        widen(self.stdout)

    def attach(self, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore_left) -> Encoder:
        """What feeds and empties this process during a run."""
        return Encoder(self, sink, state, timer, on_left)

    def close(self) -> None:
        super().close()
        self.audio.close()


class Encoder:
    """Owns an encoder process and the threads that feed and empty it.

    Each input has its own writer, since ffmpeg reads them as its interleaving wants and a single writer would wait on
    one pipe while ffmpeg waits for the other. ``write`` and ``finish`` come from one thread.
    """

    def __init__(
        self, process: EncoderProcess, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore_left
    ) -> None:
        """Nothing runs yet but the process.

        Args:
            process: has just been started; it is closed with this.
            sink: takes the stream.
            state: of the run.
            timer: measures how long frames wait.
            on_left: called whenever the first frame that can still be dropped has changed.
        """
        self.num_bytes = 0
        self.num_frames = 0
        self.first_byte_at: float | None = None  # time.perf_counter() of the first byte at the sink
        self.first_fragment_at: float | None = None  # and of the first fragment
        self.is_reader_gone = self.is_complete = False
        self._sink = sink
        self._state = state
        self._timer = timer
        self._on_left = on_left
        self._turn = threading.Lock()  # held while it is decided whether a batch leaves, or is dropped
        self._epoch = 0
        self._next_frame = self._next_sample = 0  # the first that can still be dropped
        self._splitter = FragmentSplitter()
        self._is_finished = False
        self._process = process
        self._pixels: LendingWriter | None = None  # kept until ffmpeg has read what it was lent
        state.on_abort(process.kill)
        state.on_abort(sink.cancel)
        self._frames: Channel[FrameBatch] = Channel("frames", DEPTH_BATCHES, state)
        self._audio: Channel[AudioArray] = Channel("audio", DEPTH_AUDIO, state)
        self.stages = [
            Stage("encoder frames", self._write_frames, state),
            Stage("encoder audio", self._write_audio, state),
            Stage("sink", self._read_output, state),
        ]

    def start(self) -> None:
        for stage in self.stages:
            stage.start()

    def write(self, batch: FrameBatch) -> None:
        """Queue frames and their audio; the frames must not change any more. Raises Aborted."""
        self._frames.put(batch)

    def drop(self) -> tuple[int, int]:
        """Drop the batches that wait; of the one that ffmpeg is given now, all frames leave."""
        with self._turn:
            self._epoch += 1
            return self._next_frame, self._next_sample

    def finish(self) -> None:
        """Everything has been written: let ffmpeg end the file."""
        self._is_finished = True
        self._frames.finish()

    def cut(self) -> None:
        """Let ffmpeg end the file behind the batch that it is given now; what waits is dropped."""
        self._is_finished = True
        self._frames.cut()

    def close(self) -> None:
        """Release the child and the pipes, whatever state they are in."""
        self._process.kill()
        if any(not stage.join(0) for stage in self.stages):
            self._state.abort()  # frees a writer that waits for frames which nobody will bring
        for stage in self.stages:
            stage.join()
        self._process.close()

    def _write_frames(self) -> None:
        with self._process.stdin as pipe:
            self._pixels = LendingWriter(pipe.fileno())
            for batch in self._frames:
                if not self._takes_turn(batch):
                    continue
                if len(batch.audio):
                    self._audio.put(batch.audio)
                for image in self._inputs(batch):
                    with self._timer.measure():
                        if not _write_all(self._pixels, image):
                            return
                    self.num_frames += 1
        self._audio.finish()

    def _inputs(self, batch: FrameBatch) -> Iterator[ByteArray]:
        """What ffmpeg is given for each frame, contiguous."""
        yield from batch.images

    def _takes_turn(self, batch: FrameBatch) -> bool:
        """Whether a batch goes to ffmpeg, from where nothing comes back."""
        with self._turn:
            if batch.cue.epoch != self._epoch:
                return False
            self._next_frame = batch.frames.stop
            self._next_sample = batch.cue.audio_start + len(batch.audio)
            self._on_left(self._next_frame)
            return True

    def _write_audio(self) -> None:
        with contextlib.closing(self._process.audio) as pipe, contextlib.suppress(BrokenPipeError):
            for audio in self._audio:
                pipe.write(np.ascontiguousarray(audio).data.cast("B"))

    def _read_output(self) -> None:
        is_whole = False
        try:
            while data := os.read(self._process.stdout.fileno(), READ_BYTES):
                for part in self._splitter.feed(data):
                    self._deliver(part)
            status = self._process.wait()
            if status == 0 and self._is_finished:
                if rest := self._splitter.finish():
                    self._deliver(rest)
                is_whole = True
            elif not self._state.is_aborted:
                raise self._explain(status)
        except BrokenPipeError:
            self.is_reader_gone = True
            self._state.abort()
        finally:
            is_final = is_whole and not self._state.is_stopped and self._state.error is None
            self._sink.close(is_whole=is_whole, is_final=is_final)
            self.is_complete = is_final

    def _deliver(self, part: InitSegment | Fragment) -> None:
        if isinstance(part, InitSegment):
            self._sink.begin(part)
            self.first_byte_at = time.perf_counter()
        else:
            self._sink.write(part)
            self.first_fragment_at = self.first_fragment_at or time.perf_counter()
        self.num_bytes += len(part.data)

    def _explain(self, status: int) -> EncoderError:
        if not self.num_bytes and (broken := explain_failure(self._process.program)):
            return broken
        log = self._process.log
        error = self._process.error
        reason = f": {error}" if error else ""
        hint = ""
        if any("Unknown encoder" in line or "Unrecognized option" in line for line in log):
            hint = "this ffmpeg lacks what is needed; set 'ffmpeg: bundled' in the configuration"
        return EncoderError(f"ffmpeg {describe_status(status)} after {self.num_frames} frames{reason}", hint=hint)


def _write_all(pixels: LendingWriter, array: ByteArray) -> bool:
    """Write a contiguous array; False when ffmpeg has gone. Why it went, whoever reads its output finds out."""
    try:
        pixels.write(array.data.cast("B"))
    except BrokenPipeError:
        return False
    return True
