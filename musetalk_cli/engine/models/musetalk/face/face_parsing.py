"""Face parsing: which pixels of a face image are skin, lips, nose … Optional, for masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import check_state_dict, load_into, read_state_dict
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bilinear
from musetalk_cli.engine.models.musetalk.nets.bisenet import FaceParsingNet
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray

INPUT_PX = 512
# Mean and standard deviation of ImageNet's images, RGB, 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class FaceParser:
    """The net with its weights, in float32: masks are made once per avatar, and rounding would move their edges."""

    def __init__(self, net: FaceParsingNet, device: torch.device) -> None:
        self._net = net
        self._device = device

    @classmethod
    def load(cls, path: Path, device: torch.device) -> FaceParser:
        """Raises ModelError that names the file and what is wrong with it."""
        with torch.device("meta"):
            net = FaceParsingNet()
        state = read_state_dict(path)
        check_state_dict(state, net, path, "the face-parsing net")
        return cls(load_into(net, state, device, torch.float32), device)

    @torch.inference_mode()
    def parse(self, image: ByteArray) -> ByteArray:
        """A face with its surroundings, uint8 BGR (h, w, 3) → each pixel's class, uint8 (512, 512)."""
        small = resize_bilinear(image, INPUT_PX, INPUT_PX)[:, :, ::-1]
        values = (small / np.float32(255) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
        scores = self._net(tensor[None].to(self._device))
        return as_bytes(scores[0].argmax(dim=0).cpu().numpy())
