"""Files that no avatar or voice can be made of: what is said, and what to do instead."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from shlex import quote

import pytest
from PIL import Image

from musetalk_cli.engine.audio.decoder import check_input
from musetalk_cli.engine.avatar.inputs.clip import ClipSettings
from musetalk_cli.engine.avatar.inputs.images import COLOUR_BYTES
from musetalk_cli.engine.avatar.inputs.probe import probe
from musetalk_cli.engine.avatar.inputs.sources import is_still, open_frames, read_still
from musetalk_cli.engine.avatar.inputs.video import VideoFile
from musetalk_cli.engine.avatar.library import name_for
from musetalk_cli.engine.types.signatures import is_encrypted, looks_like_text
from musetalk_cli.errors import AvatarError, SourceError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)


def read(path: Path, ffmpeg: str) -> None:
    if is_still(path):
        read_still(path, None)
    else:
        open_frames(path, ffmpeg, ClipSettings(Fraction(25))).close()


@pytest.mark.parametrize(
    ("name", "data", "words", "way_out"),
    [
        ("face.heic", HEIC, "HEIC", "heif-convert"),
        ("face.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", "PNG"),
        ("face.xml", b"<?xml version='1.0'?>\n<svg/>", "SVG", "PNG"),
        ("face.pdf", b"%PDF-1.7\n" + bytes(600), "PDF", "pdftoppm"),
        ("face.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(600), "raw photo", "JPEG"),
        ("face.dng", b"II*\0\x08\0\0\0" + bytes(600), "raw photo", "darktable"),
        ("face.zip", b"PK\3\4" + bytes(600), "archive", "unpack"),
        ("face.txt", "Kein Gesicht, nur Wörter.\n".encode() * 30, "text", "a face"),
        ("face.jpg", b"<html><body>404</body></html>", "text", "a face"),
    ],
)
def test_a_known_format_says_what_helps(
    tmp_path: Path, ffmpeg: str, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, words: str, way_out: str
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AvatarError, match=words) as caught:
        read(tmp_path / name, ffmpeg)
    assert name in str(caught.value)
    assert way_out in caught.value.hint


def test_an_image_that_was_cut_short_is_refused(tmp_path: Path, ffmpeg: str) -> None:
    path = tmp_path / "cut.jpg"
    Image.effect_noise((400, 400), 60).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(AvatarError, match="truncated") as caught:
        read(path, ffmpeg)
    assert "whole" in caught.value.hint


def test_a_voice_as_avatar_and_an_avatar_as_voice(tmp_path: Path, ffmpeg: str, tone_wav: Callable[..., Path]) -> None:
    voice = tone_wav(0.2).rename(tmp_path / "my voice.wav")
    with pytest.raises(AvatarError, match="no video track") as caught:
        read(voice, ffmpeg)
    assert f"musetalk render {quote(str(voice))} --avatar FACE" in caught.value.hint
    for suffix in ("png", "jpg", "webp", "gif"):
        path = tmp_path / f"face.{suffix}"
        Image.new("RGB", (80, 80)).save(path)
        with pytest.raises(SourceError, match="is an image") as told:
            check_input(str(path))
        assert told.value.hint.endswith(f"musetalk render --demo --avatar {quote(str(path))}")


def test_what_is_encrypted_is_refused(tmp_path: Path, ffmpeg: str, tone_wav: Callable[..., Path]) -> None:
    path = tmp_path / "bought.m4a"
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    scheme = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key]
    subprocess.run([ffmpeg, "-v", "error", "-i", str(tone_wav(0.5)), "-c:a", "aac", *scheme, str(path)], check=True)
    assert is_encrypted(path)
    with pytest.raises(SourceError, match="encrypted"):
        check_input(str(path))
    with pytest.raises(AvatarError, match="encrypted"):
        read(path, ffmpeg)
    assert not is_encrypted(tone_wav(0.1))
    titled = tmp_path / "song.m4a"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", str(tone_wav(0.5)), "-metadata", "title=Me encanta", str(titled)], check=True
    )
    assert not is_encrypted(titled)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("photo (1).jpg", "photo 1"),
        ("Ännchen.png", "Ännchen"),
        ("IMG_2040.HEIC", "IMG_2040"),
        ("a'b\"c:d.mp4", "a b c d"),
    ],
)
def test_an_avatars_name_is_made_of_its_files(tmp_path: Path, file: str, name: str) -> None:
    assert name_for(tmp_path / file) == name


@pytest.mark.parametrize("file", ["((((.png", "nora.jpg"])
def test_where_no_name_can_be_made_the_option_is_named(tmp_path: Path, file: str) -> None:
    with pytest.raises(AvatarError) as caught:
        name_for(tmp_path / file)
    assert "'name'" in caught.value.hint


def test_text_is_told_from_containers() -> None:
    assert looks_like_text("Grüße an alle\n".encode() * 40)
    assert looks_like_text(("x " * 255 + "é").encode()[:511])
    assert not looks_like_text(b"RIFF\x24\0\0\0WAVEfmt ")
    assert not looks_like_text(b"\xff\xfb\x90\x64 and more")


def test_a_phones_200_megapixels_take_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    Image.new("RGB", (16_320, 12_240), (200, 150, 120)).save(path, quality=60)
    code = (
        "import sys, pathlib\n"
        "from fixtures.media import peak_memory_bytes\n"
        "from musetalk_cli.engine.avatar.inputs.images import read_image\n"
        "before = peak_memory_bytes()\n"
        "print(read_image(pathlib.Path(sys.argv[1])).shape, peak_memory_bytes() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    shape, _, extra = done.stdout.strip().rpartition(" ")
    assert shape == "(2160, 2880, 3)"
    assert int(extra) < 300_000_000, "at full size it would take 800 MB"


@pytest.mark.parametrize("name", ["list.mp4", "list.webm", "list.m3u8"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {0}\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{0}</BaseURL></MPD>",
        "v=0\nm=video 1 RTP/AVP 96\n",
    ],
)
def test_a_playlist_is_no_video_and_opens_no_other_file(ffmpeg: str, tmp_path: Path, text: str, name: str) -> None:
    source = ["-f", "lavfi", "-i", "testsrc2=s=128x128:d=0.4", "-y", tmp_path / "secret.ts"]
    subprocess.run([ffmpeg, "-v", "error", *source], check=True)
    (tmp_path / name).write_text(text.format(tmp_path / "secret.ts") + "\0\1\2")  # or it is refused as text
    for call in (probe, lambda path, program: VideoFile(path, program, ClipSettings(Fraction(25)))):
        with pytest.raises(AvatarError, match=rf"{name} is (not a video but a playlist|neither)"):
            call(tmp_path / name, ffmpeg)


@pytest.mark.parametrize(
    "comment", ["about encryption", "Image size 6000x4000", "DOVI configuration record: profile: 5", "Me encanta"]
)
def test_what_a_file_says_of_itself_is_no_fault_of_it(tmp_path: Path, ffmpeg: str, comment: str) -> None:
    path = tmp_path / "encrypted" / "encv talk.mp4"
    path.parent.mkdir()
    source = ["-f", "lavfi", "-i", "testsrc=s=64x64:d=0.2", "-metadata", f"comment={comment}; Duration: 01:00:00.00"]
    subprocess.run([ffmpeg, "-v", "error", *source, str(path)], check=True)
    assert probe(path, ffmpeg).duration_s == pytest.approx(0.2)


def test_a_damaged_video_in_a_folder_of_that_name_is_not_called_encrypted(tmp_path: Path, ffmpeg: str) -> None:
    path = tmp_path / "encrypted" / "talk.mp4"
    path.parent.mkdir()
    path.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(400))
    with pytest.raises(AvatarError, match="neither an image nor a video"):
        probe(path, ffmpeg)


def without_pixels(data: bytes) -> bytes:
    """An AVIF whose coded image is nothing but zeros."""
    at = data.index(b"mdat") + 4
    return data[:at].ljust(len(data), b"\0")


def with_a_late_mark(data: bytes) -> bytes:
    """A PNG whose text holds the name of its chunk of colours, where what is read of the file ends."""
    at = data.index(b"IDAT") - 4
    chunk = b"tEXt" + b"x" * (COLOUR_BYTES - 4 - at - 8) + b"cICP"
    return data[:at] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[at:]


def test_a_damaged_image_is_no_bug_of_ours(tmp_path: Path, ffmpeg: str) -> None:
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    path, whole = tmp_path / "face.avif", io.BytesIO()
    Image.effect_noise((80, 80), 60).save(whole, "AVIF")
    path.write_bytes(without_pixels(whole.getvalue()))
    with pytest.raises(AvatarError, match="cannot be decoded"):
        read(path, ffmpeg)


def test_a_mark_of_colours_that_is_cut_off_is_none(tmp_path: Path) -> None:
    path, whole = tmp_path / "face.png", io.BytesIO()
    Image.new("L", (80, 80), 90).save(whole, "PNG")
    path.write_bytes(with_a_late_mark(whole.getvalue()))
    assert (read_still(path, None) == 90).all()
