"""The files of each neural model: their repositories, paths, sizes and checksums.

The paths are those that upstream's scripts use below their ``models`` folder, so one folder serves both programs. Sizes
and sha256 sums were published by the repositories; an unknown sum is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from musetalk_cli.errors import ModelError
from musetalk_cli.hints import suggest

PartKind = Literal["unet", "vae", "whisper", "parsing"]


class Repository(NamedTuple):
    """A repository on the Hugging Face hub. ``revision``: the pinned commit, ``main`` where none is known."""

    name: str
    revision: str
    licence: str


class WeightFile(NamedTuple):
    """A published file: ``name`` in its repository, stored in ``folder`` below the models folder."""

    repository: Repository
    folder: str
    name: str
    num_bytes: int
    sha256: str | None

    @property
    def path(self) -> str:
        """Its path below the models folder."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class Part(NamedTuple):
    """One net of a model.

    ``file`` is downloaded, ``settings`` is its config file. ``paths`` are all paths below the models folder that its
    weights may have; the first that exists is used. ``converted`` is the one that ``musetalk models convert`` writes.
    ``other_files`` are further published files with the same weights, and ``other_sums`` the sha256 of some whose size
    is not known.
    """

    kind: PartKind
    title: str
    file: WeightFile
    settings: WeightFile | None
    paths: tuple[str, ...]
    converted: str
    other_files: tuple[WeightFile, ...] = ()
    other_sums: tuple[str, ...] = ()

    def known_file(self, path: str) -> WeightFile | None:
        """The published file with the name of ``path``, in whatever folder."""
        files = (self.file, *self.other_files)
        return next((file for file in files if file.name.rsplit("/", 1)[-1] == path.rsplit("/", 1)[-1]), None)


class WeightSet(NamedTuple):
    """All parts of one model."""

    name: str
    title: str
    parts: tuple[Part, ...]

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """The files to download, config files first."""
        settings = tuple(part.settings for part in self.parts if part.settings is not None)
        return (*settings, *(part.file for part in self.parts))


MUSETALK = Repository(
    "TMElyralab/MuseTalk",
    "3ef28bc5cff08c90ad8178a25f1b570cd800170f",
    "the hub's page says creativeml-openrail-m; the project's README says any purpose, commercial ones too",
)
SD_VAE = Repository("stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493", "MIT")
WHISPER_TINY = Repository("openai/whisper-tiny", "169d4a4341b33bc18d8881c4b69c2e104e1cc0af", "Apache-2.0 (code: MIT)")
FACE_PARSING = Repository(
    "ManyOtherFunctions/face-parse-bisent",
    "main",
    "none stated; it was trained on CelebAMask-HQ, which is understood to be for research only",
)

# Both versions have the same config file, byte for byte.
UNET_SETTINGS_SHA256 = "5b6923aee04d71692e0e9846c471e0a4ea07a4f686d39545e472bd4ba17e1b47"

UNET_15 = Part(
    kind="unet",
    title="UNet",
    file=WeightFile(
        MUSETALK,
        "",
        "musetalkV15/unet.pth",
        3_400_074_924,
        "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
    ),
    settings=WeightFile(MUSETALK, "", "musetalkV15/musetalk.json", 748, UNET_SETTINGS_SHA256),
    paths=("musetalkV15/unet.safetensors", "musetalkV15/unet.pth"),
    converted="musetalkV15/unet.safetensors",
)
UNET_10 = Part(
    kind="unet",
    title="UNet",
    file=WeightFile(MUSETALK, "", "musetalk/pytorch_model.bin", 3_400_076_549, None),
    settings=WeightFile(MUSETALK, "", "musetalk/musetalk.json", 748, UNET_SETTINGS_SHA256),
    paths=("musetalk/pytorch_model.safetensors", "musetalk/pytorch_model.bin"),
    converted="musetalk/pytorch_model.safetensors",
)
VAE = Part(
    kind="vae",
    title="VAE",
    file=WeightFile(
        SD_VAE,
        "sd-vae",
        "diffusion_pytorch_model.bin",
        334_707_217,
        "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
    ),
    settings=WeightFile(
        SD_VAE, "sd-vae", "config.json", 547, "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e"
    ),
    paths=tuple(
        f"{folder}/diffusion_pytorch_model{suffix}"
        for folder in ("sd-vae", "sd-vae-ft-mse")
        for suffix in (".safetensors", ".bin")
    ),
    converted="sd-vae/diffusion_pytorch_model.safetensors",
    other_files=(
        WeightFile(
            SD_VAE,
            "sd-vae",
            "diffusion_pytorch_model.safetensors",
            334_643_276,
            "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
        ),
    ),
)
WHISPER = Part(
    kind="whisper",
    title="Whisper",
    file=WeightFile(
        WHISPER_TINY,
        "whisper",
        "pytorch_model.bin",
        151_095_027,
        "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
    ),
    settings=WeightFile(
        WHISPER_TINY,
        "whisper",
        "config.json",
        1_983,
        "ffdccec4f3211f4c63310f2b7098f309fe70f3952cedc5e4d11e43f5b2379b98",
    ),
    paths=("whisper/model.safetensors", "whisper/pytorch_model.bin", "whisper/tiny.pt"),
    converted="whisper/model.safetensors",
    # OpenAI's own tiny.pt, which MuseTalk 1.0 came with: the same weights in 16 bits.
    other_sums=("65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",),
)
PARSING = Part(
    kind="parsing",
    title="face parsing",
    file=WeightFile(
        FACE_PARSING,
        "face-parse-bisent",
        "79999_iter.pth",
        53_289_463,
        "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
    ),
    settings=None,
    paths=("face-parse-bisent/79999_iter.safetensors", "face-parse-bisent/79999_iter.pth"),
    converted="face-parse-bisent/79999_iter.safetensors",
)

WEIGHT_SETS = (
    WeightSet("musetalk-1.5", "MuseTalk 1.5", (UNET_15, VAE, WHISPER)),
    WeightSet("musetalk-1.0", "MuseTalk 1.0", (UNET_10, VAE, WHISPER)),
    WeightSet("face-parsing", "BiSeNet face parsing (optional: masks from the face's own skin)", (PARSING,)),
)


def get_weight_set(name: str) -> WeightSet:
    """The set of that name. Raises ModelError, with the nearest name, when there is none."""
    found = next((each for each in WEIGHT_SETS if each.name == name), None)
    if found is None:
        names = [each.name for each in WEIGHT_SETS]
        hint = suggest(name, names, f"there are: {', '.join(names)}", cutoff=0.4)
        raise ModelError(f"there are no weights called '{name}'", hint=hint)
    return found


def find_weight_sets(names: Sequence[str] | None) -> list[WeightSet]:
    """The sets of these names, all without names. Raises ModelError."""
    return [get_weight_set(name) for name in names] if names else list(WEIGHT_SETS)


def set_of(part: Part) -> str:
    """The name of the first set with this part, empty when there is none."""
    return next((each.name for each in WEIGHT_SETS if part in each.parts), "")


def published_as(num_bytes: int, sha256: str) -> WeightFile | None:
    """The published file with this sum, or else with this size and no known sum. None when there is none."""
    files = _published()
    by_sum = next((file for file in files if file.sha256 == sha256), None)
    return by_sum or next((file for file in files if file.sha256 is None and file.num_bytes == num_bytes), None)


def published_at(path: str) -> WeightFile | None:
    """The published file with this path below the models folder."""
    return next((file for file in _published() if file.path == path), None)


def _published() -> list[WeightFile]:
    parts = [part for each in WEIGHT_SETS for part in each.parts]
    return [file for part in parts for file in (part.file, *part.other_files)]
