"""Reading numpy's archives (npz) that may be damaged, or meant to do damage."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


def read_arrays(file: str | Path | IO[bytes]) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file by their names; objects (pickles) are refused.

    Arrays are read uncompressed, so that they are not larger than the file. Raises OSError where the file cannot be
    read, ValueError with the reason for everything else that can be wrong with it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it holds compressed arrays")
        if not isinstance(file, str | Path):
            file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        # A member that does not begin as an array does, numpy returns as bytes.
        if odd := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
            raise ValueError(f"{', '.join(odd)} is no array")
        return found
    except (OSError, ValueError):
        raise
    # numpy's header is Python source and its reader runs the tokenizer; a zip has many ways to be wrong.
    except Exception as error:
        raise ValueError(f"it is no archive of arrays ({type(error).__name__}: {error})") from error
