"""What a file is, by its first bytes and its name; and what helps where it is nothing that an avatar is made from."""

from __future__ import annotations

from pathlib import Path

from musetalk_cli.engine.types.signatures import HEAD_BYTES, is_encrypted, looks_like_text
from musetalk_cli.errors import AvatarError
from musetalk_cli.hints import as_file, quote
from musetalk_cli.installation import install_command

FORMATS = "PNG, JPEG, WebP, AVIF, GIF, TIFF or BMP"
# Formats whose files are videos when they hold several images.
MOVING = ("GIF", "PNG", "WEBP", "AVIF")
RAW_SUFFIXES = frozenset(
    f".{name}"
    for name in ("cr2", "cr3", "nef", "nrw", "arw", "dng", "raf", "orf", "rw2", "pef", "srw", "3fr", "iiq", "x3f")
)


def refuse_known(path: Path) -> None:
    """Raise AvatarError for a format that is known, is not read, and can be turned into one that is."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    hint = _hint_for(path, head)
    if hint:
        raise AvatarError(f"{path} cannot be used: {hint[0]}", hint=hint[1])
    if head[4:8] == b"ftyp" and is_encrypted(path):
        raise AvatarError(f"{path} is encrypted", hint="give a copy without copy protection (DRM)")


def _hint_for(path: Path, head: bytes) -> tuple[str, str] | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return (
            "it is a drawing (SVG), not pixels",
            f"export it as a PNG: rsvg-convert -h 1080 {as_file(path)} -o {quote(path.with_suffix('.png'))}",
        )
    if head.startswith(b"%PDF"):
        return "it is a PDF", f"save the page or its photo as an image: pdftoppm -png -r 200 {as_file(path)} face"
    is_raw = head.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0")) or head[8:10] == b"CR"
    if is_raw or head[4:12] == b"ftypcrx " or path.suffix.lower() in RAW_SUFFIXES:
        develop = "save it as a JPEG with the camera's software, darktable or RawTherapee"
        return "it is a camera's raw photo, which must be developed first", develop
    if head.startswith(b"PK\x03\x04"):
        return "it is an archive", "unpack it, and give an image, a video or the folder"
    if looks_like_text(head):
        return "it is text", "an avatar is made from an image or a video of a face"
    return None


def explain_heif(path: Path) -> AvatarError:
    """What to say of a HEIC file where the library that reads it is missing."""
    given, wanted = as_file(path), quote(path.with_suffix(".jpg"))
    convert = f"convert it: sips -s format jpeg {given} --out {wanted} (macOS), heif-convert {given} {wanted} (Linux)"
    install = f"or install what reads it: {install_command('heic')}"
    return AvatarError(f"{path} is a HEIC photo, which cannot be read here", hint=f"{convert}; {install}")
