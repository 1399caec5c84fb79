"""``render`` and ``stream`` with MuseTalk: small nets in the official layout, imported, on a prepared avatar."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

for library in ("torch", "safetensors"):
    pytest.importorskip(library, reason=f"needs {library}: pip install -e '.[neural]'")

from fixtures.clips import portrait_image  # noqa: E402
from fixtures.media import read_frames  # noqa: E402
from fixtures.meshes import portrait_mesh  # noqa: E402
from fixtures.official_files import write_models, write_parsing  # noqa: E402
from fixtures.prepared_avatars import write_frames  # noqa: E402
from fixtures.small_nets import CONFIGS  # noqa: E402
from musetalk_cli.engine.avatar.avatar_files import (  # noqa: E402
    FACES_FILE,
    FRAMES_FILE,
    RECORD_FILE,
    AvatarRecord,
    describe_files,
)
from musetalk_cli.engine.avatar.portrait import describe_portrait  # noqa: E402
from musetalk_cli.engine.avatar.preparation.settings import PreparationSettings  # noqa: E402
from musetalk_cli.engine.types.colour import bgr_to_planes, planes_to_i420  # noqa: E402
from musetalk_cli.engine.weights.store import WeightStore  # noqa: E402

Musetalk = Callable[..., subprocess.CompletedProcess[str]]
SIDE, NUM_AVATAR_FRAMES, FPS = 128, 3, 5
NUM_FRAMES = 13  # of 2.5 s

# Every command is a process of its own that loads torch.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upstream's ``models`` folder, with small nets."""
    return write_models(tmp_path_factory.mktemp("upstream") / "models", CONFIGS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def musetalk(home: Path, tmp_path: Path) -> Musetalk:
    """Run the command line on a computer without a GPU and with a home of the test's own."""
    environment = {**os.environ, "MUSETALK_HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "musetalk_cli", *map(str, args)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=200, check=False, env=environment, cwd=tmp_path
        )

    return run


@pytest.fixture
def avatar(home: Path) -> Path:
    """A prepared video of the drawn portrait, "anna", which grows a little brighter from frame to frame."""
    folder = home / "avatars" / "anna"
    folder.mkdir(parents=True)
    image = portrait_image(SIDE).astype(np.int16)
    images = [np.clip(image + 4 * number, 0, 255).astype(np.uint8) for number in range(NUM_AVATAR_FRAMES)]
    frames = (planes_to_i420(bgr_to_planes(each)) for each in images)
    offsets, checksums = write_frames(folder / FRAMES_FILE, frames)
    mesh = portrait_mesh()[:, :2] * SIDE / describe_portrait("nora").height
    points = np.tile(mesh.astype(np.float32), (NUM_AVATAR_FRAMES, 1, 1))
    is_found = np.ones(NUM_AVATAR_FRAMES, bool)
    np.savez(folder / FACES_FILE, points=points, is_found=is_found, offsets=offsets, checksums=checksums)
    record = AvatarRecord(
        width=SIDE,
        height=SIDE,
        num_frames=NUM_AVATAR_FRAMES,
        frame_rate=Fraction(FPS),
        source_name="anna.mp4",
        source_sha256="ab" * 32,
        parameters=PreparationSettings().as_parameters(),
        num_missing=0,
        files=describe_files(folder),
    )
    (folder / RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
    return folder


def change_at_the_mouth(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean difference of luma in the middle of the lower half, for each frame."""
    part = (slice(None), slice(SIDE // 2, SIDE * 3 // 4), slice(SIDE * 3 // 8, SIDE * 5 // 8))
    return np.abs(images[part].astype(int) - others[part]).mean(axis=(1, 2))


def test_from_upstreams_files_to_a_talking_video(
    musetalk: Musetalk, upstream: Path, avatar: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    done = musetalk("models", "import", upstream)
    assert done.returncode == 0, done.stderr
    options = ("--avatar", "anna", "--fps", FPS, "--config", tmp_path / "sharp.yaml")
    (tmp_path / "sharp.yaml").write_text("video: {crf: 4}")
    neural = ("--model", "musetalk-1.5", "--device", "cpu")

    done = musetalk("render", speech, "-o", "first.mp4", "--stats", "stats.jsonl", *options, *neural)
    assert done.returncode == 0, done.stderr
    assert "warning: MuseTalk is slow on a CPU: the first face took " in done.stderr
    assert "encoding the 3 frames of avatar 'anna'" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{NUM_FRAMES} frames, 2.6 s in ")
    assert ", musetalk-1.5 (" in last
    stats = json.loads((tmp_path / "stats.jsonl").read_text().splitlines()[-1])
    assert stats["model"] == "musetalk-1.5"
    assert stats["num_frames"] == NUM_FRAMES
    assert stats["num_silent"] == 2  # the last syllable ends 0.6 s before the end

    # The avatar alone: every frame is silent to a gate whose threshold is above all audio.
    (tmp_path / "silent.yaml").write_text("silence: {threshold_dbfs: 0}")
    done = musetalk("render", speech, "-o", "own.mp4", "--config", tmp_path / "silent.yaml", *options, *neural)
    assert done.returncode == 0, done.stderr
    assert "encoding" not in done.stderr
    first, own = (read_frames(ffmpeg, tmp_path / f"{name}.mp4", SIDE, SIDE) for name in ("first", "own"))
    assert len(first) == len(own) == NUM_FRAMES
    change = change_at_the_mouth(first, own)
    assert change[1:9].min() > 5
    assert change[-2:].max() < 1
    np.testing.assert_allclose(first[:, : SIDE // 4].astype(int), own[:, : SIDE // 4], atol=8)


def test_a_stream_speaks_with_it_too(
    musetalk: Musetalk, home: Path, upstream: Path, avatar: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    WeightStore(home).refer_to(upstream)
    options = (
        "--model",
        "musetalk-1.0",
        "--model-device",
        "cpu",
        "--avatar",
        "anna",
        "--fps",
        FPS,
        "--no-silence-gate",
    )
    done = musetalk("stream", "--input", speech, "--no-pace", "-o", "live.mp4", "--stats", "stats.jsonl", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith(", musetalk-1.0 → live.mp4")
    assert len(read_frames(ffmpeg, tmp_path / "live.mp4", SIDE, SIDE)) == NUM_FRAMES
    assert json.loads((tmp_path / "stats.jsonl").read_text().splitlines()[-1])["num_silent"] == 0


def test_a_drawn_portrait_speaks_with_it_at_any_size(
    musetalk: Musetalk, home: Path, upstream: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    WeightStore(home).refer_to(upstream)
    options = ("--model", "musetalk-1.5", "--avatar", "theo", "--fps", 5, "--size", 96)
    done = musetalk("render", speech, "-o", "theo.mp4", *options)
    assert done.returncode == 0, done.stderr
    assert len(read_frames(ffmpeg, tmp_path / "theo.mp4", 96, 96)) == 13


def test_what_is_missing_is_reported(
    musetalk: Musetalk, home: Path, upstream: Path, speech: Path, tmp_path: Path
) -> None:
    done = musetalk("render", speech, "--model", "musetalk-1.5")
    assert done.returncode == 1
    assert "musetalk models download musetalk-1.5" in done.stderr
    WeightStore(home).refer_to(upstream)
    done = musetalk("render", speech, "--model", "musetalk-1.5", "--device", "cuda:0")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("musetalk: error: there is no CUDA device for 'cuda:0'")
    done = musetalk("render", speech, "--device", "gpu")
    assert done.returncode == 2
    assert "must be auto, cuda, cuda:N, mps or cpu" in done.stderr
    assert not list(tmp_path.glob("*.mp4"))


def test_as_the_official_script_does_it(
    musetalk: Musetalk, home: Path, upstream: Path, avatar: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    WeightStore(home).refer_to(upstream)
    options = ("--compat", "upstream", "--avatar", "anna", "--fps", FPS, "--stats", "stats.jsonl")
    done = musetalk("render", speech, "-o", "theirs.mp4", *options)
    assert done.returncode == 0, done.stderr
    assert "musetalk-1.5 on cpu, float32, masks from landmarks" in done.stderr
    assert (
        "upstream's masks need face parsing, whose weights are missing: musetalk models download face-parsing"
        in done.stderr
    )
    # Rounded down, as the script does it.
    assert len(read_frames(ffmpeg, tmp_path / "theirs.mp4", SIDE, SIDE)) == NUM_FRAMES - 1
    # Faces are generated in silence too.
    assert json.loads((tmp_path / "stats.jsonl").read_text().splitlines()[-1])["num_silent"] == 0


def test_what_cannot_follow_the_official_script_says_so(musetalk: Musetalk, speech: Path, tmp_path: Path) -> None:
    done = musetalk("render", speech, "--model", "warp", "--compat", "upstream")
    assert done.returncode == 2
    assert "the warp model has no official script" in done.stderr.splitlines()[-1]
    (tmp_path / "their.yaml").write_text("compat: upstream")
    done = musetalk("stream", "--input", speech, "-o", "live.mp4", "--config", "their.yaml")
    assert done.returncode == 2
    assert "30 s of future audio, which a stream does not have" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("*.mp4"))


def test_masks_come_from_face_parsing_where_its_weights_are(
    musetalk: Musetalk, home: Path, upstream: Path, avatar: Path, speech: Path, tmp_path: Path, ffmpeg: str
) -> None:
    WeightStore(home).refer_to(upstream)
    weights = write_parsing(home / "models")
    (tmp_path / "sharp.yaml").write_text("video: {crf: 4}")
    options = ("--model", "musetalk-1.5", "--avatar", "anna", "--fps", FPS, "--config", "sharp.yaml")
    done = musetalk("render", speech, "-o", "parsed.mp4", *options)
    assert done.returncode == 0, done.stderr
    assert "parsing the 3 frames of avatar 'anna' once; the result is cached" in done.stderr
    assert "masks from face parsing" in done.stderr
    assert len(list(avatar.glob("parsing-*.npz"))) == 1
    weights.unlink()
    done = musetalk("render", speech, "-o", "drawn.mp4", *options)
    assert done.returncode == 0, done.stderr
    assert "masks from landmarks" in done.stderr
    parsed, drawn = (read_frames(ffmpeg, tmp_path / f"{name}.mp4", SIDE, SIDE) for name in ("parsed", "drawn"))
    assert np.abs(parsed.astype(int) - drawn).max() > 20
