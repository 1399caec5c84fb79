"""BiSeNet on ResNet-18 (Yu et al. 2018): which pixel of a face image is skin, lip, nose … Optional, for masks.

Parameter names are those of the published 79999_iter.pth. Its two auxiliary heads serve training only; they are kept
because the file has them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from musetalk_cli.engine.models.musetalk.checkpoints.weight_files import check_state_dict, load_into, read_state_dict
from musetalk_cli.engine.models.musetalk.face.pillow_resize import resize_bilinear
from musetalk_cli.engine.types.colour import as_bytes
from musetalk_cli.engine.types.messages import ByteArray

NUM_CLASSES = 19
INPUT_PX = 512
# What ImageNet's images have in the mean, RGB.
MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)


class ConvNorm(nn.Module):
    """Convolution of odd size, batch norm, ReLU."""

    def __init__(self, in_dim: int, dim: int, size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    def __init__(self, in_dim: int, dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        is_same = stride == 1 and in_dim == dim
        self.downsample = (
            None if is_same else nn.Sequential(nn.Conv2d(in_dim, dim, 1, stride, bias=False), nn.BatchNorm2d(dim))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """(B, 3, H, W) → features at 1/8, 1/16 and 1/32 of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, 1)
        self.layer2 = _layer(64, 128, 2)
        self.layer3 = _layer(128, 256, 2)
        self.layer4 = _layer(256, 512, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    """Features weighed, channel by channel, by what the whole image holds."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv = ConvNorm(in_dim, dim)
        self.conv_atten = nn.Conv2d(dim, dim, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_mean(x))))


class ContextPath(nn.Module):
    """(B, 3, H, W) → details (B, 128, H/8, W/8), and what surrounds them, likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvNorm(128, 128)
        self.conv_head16 = ConvNorm(128, 128)
        self.conv_avg = ConvNorm(512, 128, size=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, last = self.resnet(x)
        wide = self.arm32(last) + self.conv_avg(_mean(last))
        wide = self.conv_head32(functional.interpolate(wide, sixteenth.shape[2:], mode="nearest"))
        near = self.arm16(sixteenth) + wide
        return eighth, self.conv_head16(functional.interpolate(near, eighth.shape[2:], mode="nearest"))


class FeatureFusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvNorm(256, 256, size=1)
        self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
        self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

    def forward(self, details: Tensor, context: Tensor) -> Tensor:
        x: Tensor = self.convblk(torch.cat([details, context], dim=1))
        return x * (1.0 + torch.sigmoid(self.conv2(functional.relu(self.conv1(_mean(x))))))


class Head(nn.Module):
    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv = ConvNorm(in_dim, dim)
        self.conv_out = nn.Conv2d(dim, NUM_CLASSES, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv_out(self.conv(x))
        return scores


class FaceParsingNet(nn.Module):
    """(B, 3, H, W), normalised RGB → scores (B, 19, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion()
        self.conv_out = Head(256, 256)
        self.conv_out16 = Head(128, 64)
        self.conv_out32 = Head(128, 64)

    def forward(self, images: Tensor) -> Tensor:
        scores = self.conv_out(self.ffm(*self.cp(images)))
        return functional.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=True)


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
        values = (small / np.float32(255) - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
        scores = self._net(tensor[None].to(self._device))
        return as_bytes(scores[0].argmax(dim=0).cpu().numpy())


def _layer(in_dim: int, dim: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_dim, dim, stride), BasicBlock(dim, dim, 1))


def _mean(x: Tensor) -> Tensor:
    """Over all pixels: (B, C, H, W) → (B, C, 1, 1)."""
    return x.mean(dim=(2, 3), keepdim=True)
