"""The first pass over a clip: where the face is in every frame. It is made once, in parts that bound the memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musetalk_cli.engine.avatar.avatar import scale_points
from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.faces import FaceFinder
from musetalk_cli.engine.avatar.preparation.following import FaceChoice
from musetalk_cli.engine.avatar.preparation.smoothing import smooth_track
from musetalk_cli.engine.avatar.preparation.tracking import FaceTrack, track_face
from musetalk_cli.engine.avatar.visibility import Visibility, mouth_opacity
from musetalk_cli.engine.dub.clip import TRACKED_HEIGHT_PX, Clip, ClipFrames
from musetalk_cli.engine.types.arrays import read_arrays
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.engine.types.planar_frame import PlanarFrame
from musetalk_cli.errors import AvatarError, system_words

# Raised when a clip would come out differently: what is cached is then made again.
METHOD = 3
# Frames whose faces are smoothed together, in seconds: 200 kB each.
PART_S = 60.0
INDEX_FILE, TIMES_FILE = "index.json", "times.npy"

Report = Callable[[int], None]


@dataclass(frozen=True)
class Part:
    """Frames ``first`` … ``first + num_frames - 1`` of a clip. Without a usable face in any, ``is_empty``."""

    first: int
    num_frames: int
    is_empty: bool

    @property
    def file_name(self) -> str:
        return f"part-{self.first:08}.npz"


@dataclass(frozen=True)
class TrackedClip:
    """A clip whose first pass is done: ``ticks`` int64 (n,) are its timestamps, ``parts`` cover all n frames."""

    folder: Path
    frame_rate: Fraction
    ticks: NDArray[np.int64]
    parts: tuple[Part, ...]
    num_usable: int

    def read(self, part: Part) -> tuple[FloatArray, Visibility]:
        """Points float32 (n, 468, 2), pixels of the clip's own frames, and what may be changed in each. Raises
        AvatarError for a file that is damaged."""
        try:
            arrays = read_arrays(self.folder / part.file_name)
            area, loaded = arrays["area"], {name: arrays[name] for name in ("points", "opacity", "is_cut")}
        except (OSError, ValueError, KeyError) as error:
            hint = f"remove {self.folder} and try again"
            raise AvatarError(
                f"the cached first pass is damaged: {part.file_name}: {system_words(error)}", hint=hint
            ) from error
        return loaded["points"], Visibility.of_arrays(
            {**loaded, "area": area, "is_found": loaded["opacity"] > 0}, (int(area[2]), int(area[3])), 1.0
        )


def load_tracked(folder: Path) -> TrackedClip | None:
    """What an earlier first pass has left in a folder; None if there is none of this method."""
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        if index["method"] != METHOD:
            return None
        parts = tuple(Part(*each) for each in index["parts"])
        ticks = np.load(folder / TIMES_FILE)
        return TrackedClip(folder, Fraction(index["frame_rate"]), ticks, parts, index["num_usable"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def track_clip(clip: Clip, ffmpeg: str, finder: FaceFinder, face: FaceChoice, folder: Path, report: Report) -> None:
    """Follow a face through a clip and write what ``load_tracked`` reads.

    Args:
        clip: the clip.
        ffmpeg: path of the executable.
        finder: finds faces.
        face: which one: its number by size, ``left`` or ``right``; None for the largest that can be used.
        folder: an empty folder.
        report: called with the number of frames so far.

    Raises:
        AvatarError: the clip cannot be decoded.
    """
    parts: list[Part] = []
    num_usable = 0
    with ClipFrames(clip, ffmpeg, height_px=TRACKED_HEIGHT_PX) as frames:
        factors = np.array([clip.width / frames.width, clip.height / frames.height], np.float32)
        images = iter(frames)
        while (start := next(images, None)) is not None:
            first = parts[-1].first + parts[-1].num_frames if parts else 0
            counted = _Counted(
                chain([start], islice(images, max(1, round(PART_S * clip.frame_rate)) - 1)), first, report
            )
            found = _track(counted, finder, face, clip)
            part = Part(first, counted.num_frames, found is None)
            if found is not None:
                points, visibility = found
                num_usable += int((visibility.opacity > 0).sum())
                shown = visibility.scaled(factors).as_arrays()
                np.savez(
                    folder / part.file_name,
                    points=scale_points(points, factors),
                    opacity=shown["opacity"],
                    is_cut=shown["is_cut"],
                    area=shown["area"],
                )
            parts.append(part)
        ticks = frames.ticks
    count = parts[-1].first + parts[-1].num_frames if parts else 0
    if len(ticks) < count:
        raise AvatarError(f"{clip.path}: ffmpeg gave {len(ticks)} timestamps for {count} frames")
    np.save(folder / TIMES_FILE, _ascending(ticks[:count]))
    index = {
        "method": METHOD,
        "frame_rate": str(clip.frame_rate),
        "parts": [[part.first, part.num_frames, part.is_empty] for part in parts],
        "num_usable": num_usable,
    }
    (folder / INDEX_FILE).write_text(json.dumps(index), encoding="utf-8")


class _Counted:
    """Frames as the tracker takes them, counted as they pass."""

    def __init__(self, images: Iterator[ByteArray], first: int, report: Report) -> None:
        self._images, self._first, self._report = images, first, report
        self.num_frames = 0
        self.size = (0, 0)

    def __iter__(self) -> Iterator[PlanarFrame]:
        for image in self._images:
            self.size = (image.shape[1], image.shape[0] * 2 // 3)
            self.num_frames += 1
            self._report(self._first + self.num_frames)
            yield PlanarFrame(image)


def _track(images: _Counted, finder: FaceFinder, face: FaceChoice, clip: Clip) -> tuple[FloatArray, Visibility] | None:
    """The face in a part's frames; None where none of them has a usable one."""
    try:
        track = track_face(images, finder, face=face)
    except AvatarError:  # fewer faces than were asked for
        return None
    opacity = _opacity(track, clip.frame_rate)
    if not opacity.any() or track.area is None:
        return None
    points = smooth_track(track, clip.frame_rate).points
    return points, Visibility(opacity, track.is_cut, track.area)


def _opacity(track: FaceTrack, frame_rate: Fraction) -> FloatArray:
    return mouth_opacity(track.is_found, track.is_cut, track.is_alike, track.points, float(frame_rate))


def _ascending(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Timestamps as a container takes them: each later than the one before."""
    steps = np.arange(len(ticks))
    return np.asarray(np.maximum.accumulate(ticks - steps) + steps, np.int64)
