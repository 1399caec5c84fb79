"""Files that ffmpeg writes by itself, with alpha where their format has it: WebM, ProRes in MOV, a sequence of PNGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from musetalk_cli.engine.outputs.sinks import Sink
from musetalk_cli.engine.outputs.whole_file import WrittenBy
from musetalk_cli.engine.runtime.stage import RunState
from musetalk_cli.engine.runtime.timing import StageTimer
from musetalk_cli.engine.types.messages import ByteArray, FrameBatch
from musetalk_cli.engine.video.encoder import BT709, Encoder, EncoderProcess, EncoderSettings, raw_inputs
from musetalk_cli.engine.video.output import OnLeft, ignore_left

SILENT_SUFFIX = ".png"  # a format without audio
# Gives the alpha, uint8 (height, width), of each frame of a batch.
ReadAlphas = Callable[[FrameBatch], list[ByteArray]]

# What looks in VP9 as a CRF does in H.264 is about so much higher, of 63.
VP9_MORE, VP9_MOST = 9, 63


class WholeFileOutput:
    """A FrameOutput whose file is made by ffmpeg, from frames and, where there is ``read_alphas``, their alpha."""

    def __init__(self, ffmpeg: str, settings: EncoderSettings, read_alphas: ReadAlphas | None) -> None:
        self._ffmpeg, self._settings, self._read_alphas = ffmpeg, settings, read_alphas

    def attach(self, sink: Sink, state: RunState, timer: StageTimer, on_left: OnLeft = ignore_left) -> Encoder:
        """Begin the file; ``sink`` is a WrittenBy. Raises SinkError when it cannot be written."""
        assert isinstance(sink, WrittenBy)  # noqa: S101 - whoever opens sinks gives no other for these formats
        path = sink.create()
        build = partial(build_file_args, path=path, suffix=sink.suffix, has_alpha=self._read_alphas is not None)
        try:
            process = EncoderProcess(self._ffmpeg, self._settings, build)
        except BaseException:
            sink.close(is_whole=False, is_final=False)
            raise
        return _FileEncoder(process, sink, state, timer, on_left, self._read_alphas)


class _FileEncoder(Encoder):
    def __init__(
        self,
        process: EncoderProcess,
        sink: WrittenBy,
        state: RunState,
        timer: StageTimer,
        on_left: OnLeft,
        read_alphas: ReadAlphas | None,
    ) -> None:
        super().__init__(process, sink, state, timer, on_left)
        self._file, self._read_alphas = sink, read_alphas

    def close(self) -> None:
        super().close()
        self._file.close(is_whole=False, is_final=False)  # of a run that never began

    def _write_audio(self) -> None:
        if self._file.suffix != SILENT_SUFFIX:
            return super()._write_audio()
        # A second output that took it would wait for ever where the images cannot be written.
        self._process.audio.close()
        for _ in self._audio:
            pass
        return None

    def _inputs(self, batch: FrameBatch) -> Iterator[ByteArray]:
        if self._read_alphas is None:
            yield from batch.images
            return
        for image, alpha in zip(batch.images, self._read_alphas(batch), strict=True):
            yield np.concatenate([image.ravel(), alpha.ravel()])

    def _read_output(self) -> None:
        super()._read_output()
        self.num_bytes = self._file.num_bytes


def build_file_args(
    ffmpeg: str, settings: EncoderSettings, audio_url: str, *, path: str, suffix: str, has_alpha: bool
) -> list[str]:
    """The command line: I420 frames on stdin, 16-bit PCM from ``audio_url``, a file.

    Args:
        ffmpeg: path of the executable.
        settings: the frames' size and rate, and the quality.
        audio_url: where the audio comes from.
        path: the file, or the pattern of several.
        suffix: which format: .webm, .mov or .png.
        has_alpha: whether each frame is followed by its alpha.
    """
    import ffmpeg as builder

    pixels = "yuva420p" if has_alpha else "yuv420p"
    video, audio = raw_inputs(settings, audio_url, pixels)
    options = _FORMATS[suffix](settings, pixels)
    inputs = (video,) if suffix == SILENT_SUFFIX else (video, audio)
    output = builder.output(*inputs, f"file:{path}", **options)
    quiet = output.global_args("-hide_banner", "-loglevel", "level+warning", "-nostats", "-y")
    return list(builder.compile(quiet, cmd=ffmpeg))


def _webm(settings: EncoderSettings, pixels: str) -> dict[str, Any]:
    rate: dict[str, Any] = {"crf": min(VP9_MOST, settings.crf + VP9_MORE), "video_bitrate": 0}
    if settings.video_kbps is not None:
        rate = {"video_bitrate": f"{settings.video_kbps}k"}
    # Frames that are shown never would lose their alpha, hence auto-alt-ref.
    speed = {"deadline": "good", "cpu-used": 5, "row-mt": 1, "auto-alt-ref": 0}
    keys = {"g": max(1, round(settings.keyframe_interval_s * settings.frame_rate))}
    audio = {"acodec": "libopus", "audio_bitrate": f"{settings.audio_kbps}k"}
    return {"vcodec": "libvpx-vp9", **speed, **rate, **keys, "pix_fmt": pixels, **BT709, **audio, "f": "webm"}


def _prores(settings: EncoderSettings, pixels: str) -> dict[str, Any]:
    del settings, pixels  # of constant quality, and always with alpha
    video = {
        "vcodec": "prores_ks",
        "profile:v": "4444",
        "vendor": "apl0",
        "pix_fmt": "yuva444p10le",
        **BT709,
    }
    return {**video, "acodec": "pcm_s16le", "f": "mov"}


def _images(settings: EncoderSettings, pixels: str) -> dict[str, Any]:
    del settings
    kind = "rgba" if pixels == "yuva420p" else "rgb24"
    return {"vcodec": "png", "vf": f"scale=in_color_matrix=bt709:in_range=tv:out_range=pc,format={kind}", "f": "image2"}


_FORMATS: dict[str, Callable[[EncoderSettings, str], dict[str, Any]]] = {
    ".webm": _webm,
    ".mov": _prores,
    ".png": _images,
}
