"""One word for one thing: words that the project has given up are in no file, and in no name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_readme import ROOT, tracked_files

TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".html", ".css", ".js", ".json", ""}
# The history keeps its words, this file names them, and sentences for speech synthesis are plain English.
EXEMPT = {
    "CHANGELOG.md",
    "LICENSE",
    "tests/test_words.py",
    "tools/assets/audio_net/texts.py",
    "tools/assets/audio_net/natural/sentences.py",
}

# Retired word, a regular expression → what to say instead.
WORDS = {
    r"\bpictures?\b": "image, or frame of a video",
    r"\bsounds?\b": "audio, samples, PCM",
    r"\b(listens?|listened|listening|hears?|hearing)\b": "project, cross-attend, features; decode or receive for audio",
    r"\b(re)?paint(s|ed|er|ers|ing)?\b": "generate (a network), draw (a program)",
    r"\b(views\.py|looked_up)\b": "UNet prefix",
    r"\b(net|nets|network|networks|unet|layers|filter|whisper) (sees?|looks?)\b": "takes as input, depends on",
    r"\brings?\b": "drop-oldest queue; points",
    r"\bcredits?\b": "pacing budget, lead",
    r"\bwish(es)?\b": "request",
    r"\befforts?\b": "plan",
    r"\brigs?\b": "runner",
    r"\bverdicts?\b": "summary, conclusion",
    r"\bceilings?\b": "peak, limit",
    r"\btroubles?\b": "error, reason",
    r"\bintakes?\b": "inputs",
    r"\bsiblings?\b": "clone, neighbour",
    r"\bby lot\b": "random",
    r"\bkept places?\b": "cache",
    r"\b(could not|can|cannot|could) be had\b": "is available, can be requested",
    r"\b(got with|are got)\b": "obtained, downloaded",
    r"\bheld against\b": "compared with",
    r"\bits numbers\b": "its parameters, precision",
    r"\bshould do\b": "is untested, probably works",
    r"\bthey lie in\b": "they are in",
    r"\bcosts closures\b": "misses closures",
    r"\bdeals batches\b": "distributes batches",
    r"\bwhat people bring\b": "inputs, videos",
    r"\bin vain\b": "say what is missing",
    r"\ban audio(?=[.,;:)]|$| (into|of|with|that|is|in|to|for)\b)": "audio has no plural: audio, an audio file",
}
# Where such a word is right. Taken out of a line before it is searched.
RIGHT = [
    r"\b(direct|speech) sounds?\b",  # acoustics and phonetics
    r"\bsound (server|card)s?\b",  # what the system calls them
    r"\bkeep[-_]sound\b",  # an option
    r"\blisten (127\.0\.0\.1|443 ssl|\d+;)",  # nginx's keyword
    r"-listen\b",  # an option of ffmpeg
    r"\blistener\.listen\(",  # a socket
    r"\bnoise_ceiling_dbfs\b",  # a settings key
    r"\bpicture\.png\b",  # in avatars of earlier versions
    r"\b(PICTURE_PARAMETERS|AV_PICTURE_TYPE_I)\b",  # of H.264 and FFmpeg
]
# Names that classes, functions and modules had; in prose most of them are plain English.
NAMES = set(
    """
    Arrivals Credit Drawing Effort FacePainter Hearing Looked Pace Painting Piece PictureClock PushedVoice Rig Ring
    Sounds Trouble View Views Way WhisperListener Wish _calm _listen _without_bass ceiling copies hear hold intake
    layouts listen look opening pacing positions sibling verdict views watch
    """.split()  # noqa: SIM905
)
NAMES_THAT_ARE_RIGHT = {"tools/assets/portrait/parts/eyes.py: opening"}  # of the eyelids


def read_texts() -> list[tuple[str, str]]:
    paths = [path for path in tracked_files() if path.suffix in TEXT and str(path) not in EXEMPT]
    return [(str(path), (ROOT / path).read_text("utf-8", "ignore")) for path in paths]


TEXTS = read_texts()


# The same line by line, without what is right, and with the words of a name apart.
LINES = [(name, re.sub("|".join(RIGHT), "", text).replace("_", " ")) for name, text in TEXTS]


@pytest.mark.parametrize(("word", "instead"), WORDS.items())
def test_a_retired_word_is_in_no_file(word: str, instead: str) -> None:
    pattern = re.compile(word, re.IGNORECASE | re.MULTILINE)
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in LINES
        if pattern.search(text)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"say instead: {instead}"


def test_outputs_speak_of_fragments() -> None:
    """A piece is audio as it arrives; a part of an MP4 is a fragment."""
    found = [name for name, text in TEXTS if "/outputs/" in name and re.search(r"\bpieces?\b", text, re.IGNORECASE)]
    assert found == []


def test_no_class_function_or_module_has_a_retired_name() -> None:
    found = [
        f"{path}: {name}"
        for path, text in TEXTS
        if path.endswith(".py")
        for name in (Path(path).stem, *defined_names(text))
        if name in NAMES
    ]
    assert set(found) - NAMES_THAT_ARE_RIGHT == set()


def defined_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
