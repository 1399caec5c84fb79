"""Hair and clothes of each person, as Style by name."""

from __future__ import annotations

from dataclasses import dataclass

from tools.assets.portrait.geometry import Profile
from tools.assets.portrait.parts import hair_styles
from tools.assets.portrait.parts.clothes import Outfit
from tools.assets.portrait.parts.hair import Sheet
from tools.assets.portrait.people import rgb

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Style:
    """Hair behind the neck and in front of the head, the outlines of the dark base below both, and the outfit."""

    back: tuple[Sheet, ...]
    front: tuple[Sheet, ...]
    back_ground: Outline
    front_ground: Outline
    outfit: Outfit


STYLES = {
    "nora": Style(
        hair_styles.NORA_BACK,
        (*hair_styles.NORA_FRONT, *hair_styles.NORA_WISPS),
        hair_styles.NORA_BACK_CAP,
        hair_styles.NORA_CAP,
        Outfit(
            shoulder=Profile(
                ((0, 372), (110, 378), (170, 404), (260, 438), (350, 470), (430, 512), (490, 560), (560, 640))
            ),
            neckline=Profile(((0, 486), (40, 481), (80, 466), (118, 440), (146, 412), (166, 388), (180, 360))),
            colour=rgb("4f6f78"),
        ),
    ),
    "theo": Style(
        (),
        hair_styles.THEO_FRONT,
        (),
        hair_styles.THEO_GROUND,
        Outfit(
            shoulder=Profile(
                ((0, 366), (124, 372), (180, 392), (270, 420), (370, 450), (450, 488), (510, 536), (570, 610))
            ),
            neckline=Profile(((0, 506), (40, 501), (84, 484), (128, 454), (160, 420), (178, 394), (190, 366))),
            colour=rgb("39455c"),
            collar=rgb("c3cedb"),
        ),
    ),
}
