"""Archives of arrays that are damaged are refused, with the reason."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from musetalk_cli.engine.types.arrays import read_arrays


def archive(**members: bytes) -> io.BytesIO:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    data.seek(0)
    return data


def whole() -> bytes:
    data = io.BytesIO()
    np.save(data, np.arange(3))
    return data.getvalue()


def test_arrays_are_read_by_name() -> None:
    assert read_arrays(archive(points=whole()))["points"].tolist() == [0, 1, 2]


def test_a_member_whose_first_byte_is_damaged_is_no_array() -> None:
    """numpy returns the bytes of such a member, and no error."""
    with pytest.raises(ValueError, match="points is no array"):
        read_arrays(archive(points=b"\x00" + whole()[1:], others=whole()))
