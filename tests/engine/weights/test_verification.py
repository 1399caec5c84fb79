"""Quick looks at weight files, which need no PyTorch: headers of safetensors that say what they should, and others."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from musetalk_cli.engine.weights.registry import UNET_15
from musetalk_cli.engine.weights.verification import is_likely_whole, read_source

WHOLE = b'{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"__metadata__":{"musetalk.source":"unet.pth"}}'


def write(path: Path, header: bytes, num_bytes: int = 4) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(num_bytes))
    return path


def test_a_file_that_ends_where_its_header_says_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "unet.safetensors", WHOLE)
    assert is_likely_whole(UNET_15, path)
    assert read_source(path) == "unet.pth"
    assert not is_likely_whole(UNET_15, write(path, WHOLE, 3))


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b'{"w":1}',
        b'{"w":{}}',
        b'{"w":{"data_offsets":4}}',
        b'{"w":{"data_offsets":[4]}}',
        b'{"w":{"data_offsets":[0,"4"]}}',
        b'{"w":{"data_offsets":[0,4]},"v":[]}',
        b'{"w":' + b"[" * 9000 + b"]" * 9000 + b"}",
        b"\xff",
    ],
)
def test_a_doctored_header_is_damage(tmp_path: Path, header: bytes) -> None:
    path = write(tmp_path / "unet.safetensors", header)
    assert not is_likely_whole(UNET_15, path)
    assert read_source(path) is None
