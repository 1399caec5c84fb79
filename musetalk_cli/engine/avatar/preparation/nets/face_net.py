"""One of the two face nets, ready to run: by the native kernel where it can, else by OpenCV, with the same results."""

from __future__ import annotations

import ctypes
import logging
import os
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from musetalk_cli.engine.avatar.landmarks import FloatArray
from musetalk_cli.engine.avatar.preparation.nets.steps import Layout, Map, lay_out
from musetalk_cli.engine.avatar.preparation.nets.tflite import UnreadableNetError, read_graph
from musetalk_cli.engine.native.arrays import address, pointer
from musetalk_cli.engine.native.library import load
from musetalk_cli.engine.types.colour import ByteArray
from musetalk_cli.errors import AvatarError
from musetalk_cli.option_names import option

ABI = 1
"""NETS_ABI of nets.c."""

log = logging.getLogger(__name__)


class Range(NamedTuple):
    """What a net is shown of a pixel: its level · ``factor`` + ``offset``."""

    factor: float
    offset: float


class FaceNet(Protocol):
    """A net that takes an image, uint8 BGR of its own size, and gives an array for each of its outputs, flat."""

    def run(self, image: ByteArray) -> tuple[FloatArray, ...]: ...


def open_net(path: Path, outputs: tuple[str, ...], levels: Range, side_px: int) -> FaceNet:
    """Load a TFLite file, whose ``outputs`` are given by ``run`` in the order in which they are named here.

    ``side_px``: of the images that it will be given. Raises AvatarError where the file cannot be read as this net.
    """
    library = load()
    if library is not None and hasattr(library, "nets_abi") and library.nets_abi() == ABI:
        try:
            layout = lay_out(read_graph(path))
        except (UnreadableNetError, OSError) as error:
            log.debug("%s is left to OpenCV: %s", path.name, error)
        else:
            if set(outputs) <= set(layout.outputs) and (layout.height, layout.width) == (side_px, side_px):
                return NativeNet(library, layout, outputs, levels)
    return OpenCvNet(path, outputs, levels)


class NativeNet:
    """By ``nets.c``. For one thread at a time."""

    def __init__(self, library: ctypes.CDLL, layout: Layout, outputs: tuple[str, ...], levels: Range) -> None:
        self._layout, self._outputs = layout, [layout.outputs[name] for name in outputs]
        self._arena, self._scratch = (np.zeros(size, np.float32) for size in (layout.arena, layout.scratch))
        self._run = library.nets_run
        self._run.restype = None
        self._run.argtypes = [ctypes.c_int32, *[ctypes.c_void_p] * 5, *[ctypes.c_int32] * 2, *[ctypes.c_float] * 2]
        arrays = (layout.steps, layout.weights, self._arena, self._scratch)
        self._arguments = (len(layout.steps), *(address(array) for array in arrays))
        self._numbers = (layout.height, layout.width, *levels)

    def run(self, image: ByteArray) -> tuple[FloatArray, ...]:
        shape = (self._layout.height, self._layout.width, 3)
        self._run(*self._arguments, pointer(image, np.uint8, shape), *self._numbers)
        return tuple(np.concatenate([self._values(part) for part in parts]) for parts in self._outputs)

    def _values(self, part: Map) -> FloatArray:
        """A map's values, flat, without the channels that fill it up."""
        at = self._layout.places[part.number]
        return np.asarray(self._arena[at : at + part.size].reshape(-1, part.filled)[:, : part.channels].ravel())


class OpenCvNet:
    """By OpenCV."""

    def __init__(self, path: Path, outputs: tuple[str, ...], levels: Range) -> None:
        self._outputs, self._factor, self._mean = outputs, levels.factor, -levels.offset / levels.factor
        try:
            # OpenCV 5's new engine drops one of two outputs.
            classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
            extra = {} if classic is None else {"engine": classic}
            self._net = cv2.dnn.readNetFromTFLite(os.fspath(path), **extra)
        except cv2.error as error:
            raise _refuse(f"{path} cannot be read as a network: {error.err}") from error
        if not set(outputs) <= set(self._net.getUnconnectedOutLayersNames()):
            raise _refuse(f"{path} is not the expected network")

    def run(self, image: ByteArray) -> tuple[FloatArray, ...]:
        self._net.setInput(cv2.dnn.blobFromImage(image, self._factor, mean=(self._mean,) * 3, swapRB=True))
        return tuple(np.asarray(each, np.float32).ravel() for each in self._net.forward(self._outputs))


def _refuse(problem: str) -> AvatarError:
    own = f"a folder of your own is named with {option('--face-models')}"
    return AvatarError(problem, hint=f"delete it, and it is downloaded again; {own}")
