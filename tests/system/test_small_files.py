from __future__ import annotations

from pathlib import Path

import pytest

from musetalk_cli.system.small_files import read_small_file, read_small_json


def test_a_file_up_to_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_small_file(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than"):
        read_small_file(path, 4)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no endless file")
def test_an_endless_file_is_refused() -> None:
    with pytest.raises(OSError, match="larger than 1024 KiB"):
        read_small_file(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["[" * 200_000, "{", b"\xff\xfe{}"])
def test_what_is_no_json_is_a_value_error(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError):
        read_small_json(path)
