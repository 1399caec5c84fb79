"""``musetalk dub`` from its request to a file: the first pass, cached, the voices, and the second pass."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from musetalk_cli import ending
from musetalk_cli.app.model_choice import check_model, count_cores
from musetalk_cli.app.settings.folders import cache_folder
from musetalk_cli.app.settings.tools import find_face_nets, find_ffmpeg
from musetalk_cli.configuration.origins import blaming, name_setting
from musetalk_cli.configuration.schema import Config, VideoConfig
from musetalk_cli.errors import AvatarError, ConfigError, SinkError, SourceError
from musetalk_cli.hints import as_file, quote
from musetalk_cli.option_names import option
from musetalk_cli.system import heap
from musetalk_cli.system.names import find_name_problem
from musetalk_cli.ui.console import say
from musetalk_cli.ui.figures import frames_text
from musetalk_cli.ui.progress import ProgressDisplay

if TYPE_CHECKING:
    from musetalk_cli.engine.avatar.preparation.following import FaceChoice
    from musetalk_cli.engine.dub.clip import Clip
    from musetalk_cli.engine.dub.first_pass import TrackedClip
    from musetalk_cli.engine.dub.muxing import DubAudio, DubEncoding
    from musetalk_cli.engine.dub.second_pass import Speaker
    from musetalk_cli.engine.dub.timeline import DubTimeline, Fill, Length

# Of a file to keep, where the settings name nothing else: frames without a new mouth stay above 45 dB.
PRESET, CRF, AUDIO_KBPS = "fast", 14, 192
NUM_AHEAD_S = 0.1  # by which a voice may be longer than its clip without a word


@dataclass(frozen=True)
class FaceVoice:
    """Which face speaks which voice; ``voice`` None is the clip's own audio."""

    face: FaceChoice
    voice: Path | None


@dataclass(frozen=True)
class DubRequest:
    """What the options ask for, settings aside. ``kept_db``: the clip's own audio is mixed below, at this gain."""

    clip: Path
    faces: tuple[FaceVoice, ...]
    output: Path
    length: Length = "clip"
    fill: Fill = "hold"
    kept_db: float | None = None
    overwrite: bool = False
    is_quiet: bool = False


def dub_clip(config: Config, request: DubRequest) -> None:
    """Dub a clip, and say what was made. Raises MuseTalkError."""
    import cv2

    started_at = time.perf_counter()
    check_model(config)
    if config.model not in ("auto", "warp"):
        with blaming(config, "model"):
            name = name_setting(config, "model")
            raise ConfigError(f"{name}: dub has only the warp model", hint=f"use {option('--model')} warp")
    display = ProgressDisplay(is_quiet=request.is_quiet)
    heap.begin_collecting()
    cv2.setNumThreads(1)  # frames are computed beside each other
    try:
        ffmpeg = find_ffmpeg(config, display.tell)
        dub = _Dub(config, request, ffmpeg, display)
        check_output(request)
        summary = dub.run()
    except ending.SignalExit as end:  # before the video had its name
        display.tell("stopped: no video was made, and nothing was changed")
        end.is_told = True
        raise
    finally:
        display.close()
    if not request.is_quiet:
        say(f"{summary} in {time.perf_counter() - started_at:.1f} s → {request.output}")


def check_clip(request: DubRequest) -> None:
    """Raise AvatarError where the clip cannot be opened, or is an image."""
    from musetalk_cli.engine.avatar.inputs.sources import check_source, is_still

    check_source(request.clip)
    if is_still(request.clip):
        voice = next((each.voice for each in request.faces if each.voice), None)
        line = f"musetalk render {as_file(voice) if voice else 'VOICE'} --avatar {quote(request.clip)}"
        raise AvatarError(f"{request.clip} is an image, and dub takes a video", hint=line)


def check_output(request: DubRequest) -> None:
    """Raise SinkError where the output cannot be written."""
    from musetalk_cli.engine.dub.muxing import CONTAINERS

    output = request.output
    if problem := find_name_problem(output.name):
        raise SinkError(f"cannot write {output}: {problem}", hint="choose another name")
    if output.suffix.lower() not in CONTAINERS:
        raise SinkError(f"cannot write {output}: dub does not make such files", hint="name it .mp4, .mov or .mkv")
    if output.is_dir():
        raise SinkError(f"{output} is a folder", hint="name a file in it, such as dubbed.mp4")
    if output.exists() and not request.overwrite:
        raise SinkError(f"{output} exists already", hint="give another name with -o, or --overwrite")
    if not output.parent.is_dir():
        raise SinkError(f"there is no folder {quote(output.parent)}", hint="create it first, or choose another")
    inputs = [request.clip, *(each.voice for each in request.faces if each.voice)]
    if any(os.path.realpath(output) == os.path.realpath(path) for path in inputs):
        raise SinkError(f"input and output are the same file: {output}", hint="choose another name")


class _Dub:
    """One run. Making it looks at the inputs, and raises AvatarError or SourceError where they cannot be used."""

    def __init__(self, config: Config, request: DubRequest, ffmpeg: str, display: ProgressDisplay) -> None:
        from musetalk_cli.engine.dub.clip import open_clip

        self._config, self._request, self._ffmpeg, self._display = config, request, ffmpeg, display
        check_clip(request)
        self._clip: Clip = open_clip(request.clip, ffmpeg)
        self._audio: DubAudio = self._find_audio()

    def run(self) -> str:
        """Make the file. Returns a summary."""
        from musetalk_cli.engine.avatar.preparation.settings import Progress
        from musetalk_cli.engine.dub.muxing import build_mux_args
        from musetalk_cli.engine.dub.second_pass import dub_frames

        clip, request = self._clip, self._request
        if any(depth in clip.pixel_format for depth in ("p10", "p12", "p16", "p010")):
            self._display.tell(f"{clip.path} has more than 8 bits a channel; the output has 8")
        if clip.left_out:
            self._display.tell(f"{clip.path} also holds {', '.join(clip.left_out)}: not in the output")
        tracked = [self._track(each.face) for each in request.faces]
        timeline = self._plan(tracked[0])
        speakers = self._read_voices(tracked, timeline)
        first_s, end_s = (float(timeline.ticks[at] / clip.timescale) for at in (0, -1))
        with staged(request.output) as path:
            args = build_mux_args(
                self._ffmpeg, clip, self._audio, self._encoding(), first_s, end_s, request.output, path
            )
            total = len(timeline.sources)
            num_changed = dub_frames(
                clip,
                timeline,
                speakers,
                args,
                count_cores(),
                lambda done: self._display(Progress("dub", done, total)),
            )
        return f"{frames_text(total)}, {num_changed} with a new mouth, {end_s - first_s:.1f} s"

    def _find_audio(self) -> DubAudio:
        from musetalk_cli.engine.audio.decoder import check_input
        from musetalk_cli.engine.dub.clip import find_audio
        from musetalk_cli.engine.dub.muxing import DubAudio

        request, clip = self._request, self._clip
        voices = []
        for voice in dict.fromkeys(each.voice for each in request.faces if each.voice):
            check_input(str(voice))
            track = find_audio(voice, self._ffmpeg)
            if not track.codec:  # said now, and not behind a first pass of an hour
                raise SourceError(f"{voice} holds no audio", hint="give an audio file, or a video with audio")
            voices.append((voice, track))
        speaks_own = any(each.voice is None for each in request.faces)
        if speaks_own and not clip.audio.codec:
            raise SourceError(f"{clip.path} holds no audio", hint="give a voice: musetalk dub CLIP VOICE")
        if request.kept_db is not None and not clip.audio.codec:
            self._display.tell(f"warning: {clip.path} holds no audio that could be kept")
        # A face that speaks the clip's audio beside another that has a voice is heard as loud as it was.
        kept_db = 0.0 if speaks_own and voices and request.kept_db is None else request.kept_db
        return DubAudio(tuple(voices), kept_db)

    def _track(self, face: FaceChoice) -> TrackedClip:
        """The first pass, from the cache or made now."""
        from musetalk_cli.engine.avatar.inputs.sources import hash_source
        from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
        from musetalk_cli.engine.avatar.preparation.settings import Progress
        from musetalk_cli.engine.avatar.whole_folder import create_folder
        from musetalk_cli.engine.dub.first_pass import METHOD, load_tracked, track_clip

        path = self._clip.path
        sha256 = hash_source(path, lambda done, total: self._display(Progress("hash", done >> 20, total >> 20)))
        folder = cache_folder() / "dubs" / f"{path.stem[:40]}-{sha256[:16]}-{face or 'largest'}-{METHOD}"
        if (tracked := load_tracked(folder)) is None:
            finder = FaceFinder(find_face_nets(self._config, self._display.tell))
            total = self._clip.num_expected
            with create_folder(folder, is_replacing=True) as made:
                track_clip(
                    self._clip,
                    self._ffmpeg,
                    finder,
                    face,
                    made,
                    lambda done: self._display(Progress("frames", done, total)),
                )
            tracked = load_tracked(folder)
        if tracked is None:
            raise AvatarError(f"the first pass of {path} cannot be read from {folder}", hint="remove it and try again")
        self._tell_unusable(tracked, face)
        return tracked

    def _tell_unusable(self, tracked: TrackedClip, face: FaceChoice) -> None:
        count, path = len(tracked.ticks), self._clip.path
        which = "face" if face is None else f"face '{face}'"
        if not tracked.num_usable:
            hint = "a face must be seen from the front, lit and sharp, in some of its frames"
            raise AvatarError(f"no frame of {path} has a usable {which}", hint=hint)
        if tracked.num_usable < count:
            self._display.tell(
                f"{count - tracked.num_usable} of {count} frames have no usable {which} and stay as they are"
            )

    def _plan(self, tracked: TrackedClip) -> DubTimeline:
        from musetalk_cli.engine.dub.timeline import plan_timeline

        clip, request = self._clip, self._request
        voices = [each.voice for each in request.faces if each.voice]
        voice_ticks = None
        if request.length != "clip" and voices:
            voice_ticks = round(max(self._measure_s(voice) for voice in voices) * clip.timescale)
        last_ticks = max(1, round(clip.timescale / clip.frame_rate))
        return plan_timeline(tracked.ticks, last_ticks, voice_ticks, request.length, request.fill)

    def _measure_s(self, voice: Path) -> float:
        from musetalk_cli.engine.types.messages import AUDIO_RATE_HZ

        with self._open_voice(voice) as source:
            num_samples = 0
            while (audio := source.read()) is not None:
                num_samples += len(audio)
        return num_samples / AUDIO_RATE_HZ

    def _read_voices(self, tracked: list[TrackedClip], timeline: DubTimeline) -> list[Speaker]:
        """What each face says in each frame of the output."""
        from musetalk_cli.engine.dub.second_pass import Speaker
        from musetalk_cli.engine.dub.speech import read_speech
        from musetalk_cli.engine.models.musetalk.audio.silence import SilenceSettings

        silence = asdict(self._config.silence)
        silence.pop("gate")
        times_s = timeline.times_s(self._clip.timescale)
        end_s = float(timeline.ticks[-1] / self._clip.timescale)
        speakers = []
        for each, clip in zip(self._request.faces, tracked, strict=True):
            with self._open_voice(each.voice) as source:
                speech = read_speech(
                    source,
                    times_s,
                    float(1 / self._clip.frame_rate),
                    SilenceSettings(**silence),
                    self._config.warp.expression,
                )
            if each.voice and speech.duration_s > end_s + NUM_AHEAD_S:
                more_s = speech.duration_s - end_s
                self._display.tell(f"{each.voice} is {more_s:.1f} s longer than the clip and is cut; see --length")
            speakers.append(Speaker(clip, speech))
        return speakers

    @contextlib.contextmanager
    def _open_voice(self, voice: Path | None) -> Iterator[_Source]:
        """A voice; None is the clip's own audio."""
        from musetalk_cli.engine.audio.decoder import DecoderProcess
        from musetalk_cli.engine.audio.sources import FileSource

        with ExitStack() as cleanup:
            beside = self._clip.index if voice is None and self._clip.is_loose else None
            decoder = DecoderProcess(str(voice or self._clip.path), self._ffmpeg, beside=beside)
            source = cleanup.enter_context(closing(FileSource(decoder, self._display.tell)))
            source.open()
            yield source

    def _encoding(self) -> DubEncoding:
        """Quality for files, unless the settings name another than that of live video."""
        from musetalk_cli.engine.dub.muxing import DubEncoding

        video, usual = self._config.video, VideoConfig()
        preset = PRESET if video.encoding_preset == usual.encoding_preset else video.encoding_preset
        return DubEncoding(preset, CRF if video.crf == usual.crf else video.crf, AUDIO_KBPS)


if TYPE_CHECKING:
    from musetalk_cli.engine.audio.sources import FileSource as _Source


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden file beside ``output`` that takes its name when the block ends well, and is removed otherwise."""
    from musetalk_cli.engine.runtime.files import remove_abandoned, staged_name

    remove_abandoned(output)
    path = staged_name(output)
    ending.on_leaving(lambda: path.unlink(missing_ok=True))  # a signal may leave no time for the rest
    try:
        yield path
        with ending.final_step():
            path.replace(output)
    finally:
        path.unlink(missing_ok=True)
