"""Height fields (h, w) → light on them: normals, soft shadows, occlusion, subsurface scattering, sheen, tone curve."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tools.assets.portrait.geometry import Array


@dataclass(frozen=True)
class Light:
    """A soft directional light: ``direction`` points from the face to the light (x right, y down, z to the viewer)."""

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    wrap: float

    @property
    def unit(self) -> Array:
        d = np.asarray(self.direction, dtype=np.float32)
        return d / np.linalg.norm(d)


KEY = Light((-0.48, -0.70, 0.74), (1.14, 1.07, 0.98), 0.30)
FILL = Light((0.85, -0.05, 0.70), (0.19, 0.21, 0.25), 0.35)
BOUNCE = Light((0.10, 0.80, 0.62), (0.13, 0.115, 0.105), 0.40)
RIM = Light((0.97, -0.30, -0.12), (0.42, 0.42, 0.44), 0.02)
SKY = np.array([0.25, 0.255, 0.27], dtype=np.float32)
GROUND = np.array([0.24, 0.20, 0.175], dtype=np.float32)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur; a wide one at reduced size, which is faster and gives the same result."""
    if sigma < 0.15:
        return image
    if sigma > 8:
        shrink = int(sigma // 4)
        h, w = image.shape[:2]
        small = cv2.resize(image, (max(w // shrink, 2), max(h // shrink, 2)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
        return cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(image, (0, 0), sigma)


def masked_blur(image: Array, mask: Array, sigma: float) -> Array:
    """Blur that only mixes samples inside ``mask``."""
    weight = blur(mask, sigma) + 1e-4
    m = mask if image.ndim == 2 else mask[..., None]
    total = blur(image * m, sigma)
    return total / (weight if image.ndim == 2 else weight[..., None])


def normals(height: Array, scale: int) -> Array:
    """Unit normals (h, w, 3) of a height field in face units, sampled ``scale`` times per unit."""
    dy, dx = np.gradient(height)
    n = np.stack([-dx * scale, -dy * scale, np.ones_like(height)], -1)
    return n / np.linalg.norm(n, axis=-1, keepdims=True)


def occlusion(height: Array, mask: Array, scale: int, strength: float = 1.0) -> Array:
    """Ambient occlusion (h, w): 1 in the open, lower where a sample lies below its surroundings, at several scales."""
    open_ = np.ones_like(height)
    for sigma, weight in ((3.0, 0.55), (8.0, 0.6), (20.0, 0.55)):
        below = (masked_blur(height, mask, sigma * scale) - height) / sigma
        open_ *= 1 - strength * weight * np.clip(below, 0, 0.9)
    return open_


def cast_shadow(height: Array, scale: int, light: Light, reach: float = 170.0, softness: float = 0.22) -> Array:
    """Soft shadow (h, w), 1 lit … 0 in shadow, by marching every sample towards a broad light, at reduced size.

    Args:
        height: Height field in face units, (h, w).
        scale: Samples per face unit.
        light: The light.
        reach: Length of the march, face units.
        softness: Width of the penumbra, as a slope.
    """
    shrink = 2 * scale
    h, w = height.shape
    low = cv2.resize(height, (w // shrink, h // shrink), interpolation=cv2.INTER_AREA)
    unit = 0.5
    lx, ly, lz = (float(v) for v in light.unit)
    flat = np.hypot(lx, ly)
    blocked = np.zeros_like(low)
    for step in range(1, int(reach * unit) + 1):
        shift = np.array([[1, 0, -lx / flat * step], [0, 1, -ly / flat * step]], dtype=np.float32)
        ahead = cv2.warpAffine(low, shift, low.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        distance = step / unit
        above = (ahead - low) / distance - lz / flat
        blocked = np.maximum(blocked, np.clip(above / softness + 0.35, 0, 1))
    lit = cv2.GaussianBlur(1 - blocked, (0, 0), 1.6)
    return cv2.resize(lit, (w, h), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def irradiance(normal: Array, open_: Array, lit: Array) -> Array:
    """Light that arrives at every sample, linear RGB (h, w, 3)."""
    up = 0.5 - 0.5 * normal[..., 1:2]
    total = (GROUND + (SKY - GROUND) * up) * open_[..., None]
    for light, visible in ((KEY, lit), (FILL, None), (BOUNCE, None), (RIM, None)):
        facing = np.clip((normal @ light.unit + light.wrap) / (1 + light.wrap), 0, None) ** 1.15
        facing = facing * (visible if visible is not None else 1) * (0.35 + 0.65 * open_)
        total = total + facing[..., None] * np.asarray(light.colour, np.float32)
    return total.astype(np.float32)


SCATTER = (
    ((1.0, 0.46), (3.4, 0.32), (10.0, 0.22)),
    ((0.9, 0.62), (2.6, 0.28), (6.0, 0.10)),
    ((0.7, 0.76), (1.8, 0.24)),
)


def scatter(light: Array, mask: Array, scale: int) -> Array:
    """Subsurface scattering: a sum of Gaussians per channel, in which red spreads far and blue hardly."""
    channels = [
        sum(weight * masked_blur(np.ascontiguousarray(light[..., c]), mask, sigma * scale) for sigma, weight in lobes)
        for c, lobes in enumerate(SCATTER)
    ]
    return np.stack(channels, -1).astype(np.float32)


def sheen(normal: Array, light: Light, power: float) -> Array:
    """Blinn-Phong highlight with Schlick's Fresnel factor, (h, w)."""
    half = light.unit + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    facing = np.clip(normal @ half, 0, 1)
    fresnel = 0.028 + 0.972 * (1 - np.clip(normal[..., 2], 0, 1)) ** 5
    lobe = (power + 8) / (8 * np.pi) * facing**power
    return (lobe * fresnel * np.clip(normal @ light.unit, 0, 1)).astype(np.float32)


def to_linear(srgb: object) -> Array:
    """sRGB 0..1 → linear light."""
    v = np.asarray(srgb, dtype=np.float32)
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: Array) -> Array:
    """Linear light → sRGB 0..1, with a shoulder that keeps highlights below clipping."""
    knee = 0.62
    over = np.clip(linear - knee, 0, None)
    v = np.clip(np.minimum(linear, knee) + (0.93 - knee) * (1 - np.exp(-over / (0.93 - knee))), 0, 1)
    return np.where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055).astype(np.float32)


def noise(shape: tuple[int, int], cell: float, rng: np.random.Generator) -> Array:
    """Smooth noise of zero mean and unit deviation with features about ``cell`` samples wide."""
    h, w = shape
    small = rng.standard_normal((int(h / cell) + 4, int(w / cell) + 4)).astype(np.float32)
    big = cv2.resize(small, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)[:h, :w]
    return (big - big.mean()) / (big.std() + 1e-6)
