"""What distinguishes the people beside their faces: hair as sheets of guide curves (face units), and clothes."""

from __future__ import annotations

from dataclasses import dataclass

from tools.portrait.clothes import Outfit
from tools.portrait.geometry import Profile
from tools.portrait.hair import Guide, Sheet
from tools.portrait.people import rgb

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Style:
    """Hair behind the neck and in front of the head, dark ground below both, and the outfit."""

    back: tuple[Sheet, ...]
    front: tuple[Sheet, ...]
    back_ground: Outline
    front_ground: Outline
    outfit: Outfit


NORA_BACK = (
    Sheet(
        guides=(
            ((-120, -150, -60), (-205, -20, -60), (-222, 150, -50), (-228, 290, -40), (-215, 420, -30)),
            ((-70, -100, -60), (-120, 60, -60), (-140, 200, -50), (-140, 310, -40), (-130, 420, -30)),
            ((0, -100, -60), (0, 60, -60), (0, 200, -50), (0, 300, -40), (0, 400, -30)),
            ((70, -100, -60), (120, 60, -60), (138, 200, -50), (140, 310, -40), (132, 425, -30)),
            ((120, -150, -60), (202, -20, -60), (220, 150, -50), (224, 290, -40), (210, 425, -30)),
        ),
        num_strands=1700, num_tresses=12, wave=10, shade=0.62, width=1.3, length_spread=0.15,
    ),
)
NORA_FRONT = (
    Sheet(
        guides=(
            ((40, -308, 10), (-44, -316, 16), (-132, -280, 18), (-192, -196, 15), (-220, -76, 10), (-226, 70, 20), (-230, 215, 25), (-236, 340, 30), (-224, 430, 34)),
            ((46, -286, 60), (-30, -294, 72), (-118, -254, 70), (-176, -168, 54), (-204, -46, 42), (-211, 85, 44), (-215, 225, 50), (-218, 350, 56), (-204, 442, 58)),
            ((52, -252, 110), (-16, -260, 118), (-98, -222, 112), (-160, -138, 86), (-187, -22, 66), (-197, 98, 62), (-200, 232, 68), (-198, 356, 74), (-180, 450, 74)),
            ((57, -216, 140), (4, -222, 144), (-70, -190, 136), (-140, -114, 112), (-174, -8, 86), (-188, 106, 78), (-188, 235, 80), (-178, 352, 84), (-158, 444, 84)),
            ((60, -188, 150), (26, -192, 150), (-38, -172, 146), (-114, -106, 124), (-162, -8, 98), (-184, 104, 84), (-182, 226, 86), (-164, 338, 90), (-140, 424, 90)),
        ),
        num_strands=6000, num_tresses=9, locks_per_tress=6, wave=17, wave_turns=3.0, wave_from=0.30, flyaways=70,
    ),
    Sheet(
        guides=(
            ((42, -308, 10), (102, -304, 16), (164, -262, 20), (204, -178, 15), (222, -62, 10), (227, 80, 20), (231, 220, 25), (232, 340, 30), (214, 424, 34)),
            ((49, -286, 60), (100, -284, 72), (154, -240, 70), (190, -156, 52), (207, -40, 42), (213, 90, 44), (217, 228, 50), (214, 350, 56), (196, 436, 58)),
            ((55, -252, 110), (96, -252, 116), (142, -208, 106), (174, -130, 82), (191, -18, 64), (199, 100, 62), (201, 234, 68), (195, 356, 74), (176, 442, 74)),
            ((60, -216, 140), (90, -214, 142), (130, -176, 130), (160, -110, 106), (179, -6, 84), (190, 106, 76), (190, 236, 80), (178, 350, 84), (156, 438, 84)),
            ((63, -188, 150), (86, -184, 150), (120, -156, 140), (151, -100, 116), (173, -6, 92), (187, 104, 80), (184, 228, 86), (166, 338, 90), (142, 420, 90)),
        ),
        num_strands=5200, num_tresses=8, locks_per_tress=6, wave=17, wave_turns=3.0, wave_from=0.30, flyaways=60,
    ),
)
NORA_CAP = ((-60, -210), (-130, -190), (-140, -240), (-70, -290), (20, -304), (100, -294), (150, -236), (140, -196), (90, -200), (60, -204))
NORA_BACK_CAP = ((-140, -60), (-196, 60), (-196, 220), (-170, 330), (-110, 352), (110, 352), (172, 330), (194, 220), (194, 60), (140, -60))


def _shift(guides: tuple[Guide, ...], dx: float, dy: float, dz: float, squeeze: float = 1.0) -> tuple[Guide, ...]:
    return tuple(tuple((x * squeeze + dx, y + dy, z + dz) for x, y, z in guide) for guide in guides)


def _side_row(side: float, y: float, x_in: float, x_out: float, length: float) -> tuple[Guide, ...]:
    """Short hair of one side of the head that falls from height ``y``, from the temple's edge to the outline."""
    guides = []
    for share in (0.0, 0.5, 1.0):
        x = x_in + (x_out - x_in) * share
        z = 95 - 80 * share
        guides.append(((side * x, y, z), (side * (x + 4), y + 0.5 * length, z), (side * (x + 3), y + length, z)))
    return tuple(guides)


THEO_TOP: tuple[Guide, ...] = (
    ((-150, -92, 105), (-168, -138, 112), (-172, -196, 90), (-152, -248, 50)),
    ((-128, -136, 125), (-146, -186, 135), (-136, -242, 100), (-102, -284, 55)),
    ((-78, -156, 142), (-94, -212, 152), (-72, -268, 112), (-28, -304, 60)),
    ((-20, -163, 148), (-32, -226, 158), (-2, -286, 118), (48, -314, 62)),
    ((40, -162, 148), (38, -222, 156), (72, -276, 112), (116, -298, 58)),
    ((96, -150, 138), (106, -198, 142), (138, -244, 100), (168, -262, 50)),
    ((134, -122, 120), (150, -164, 122), (174, -200, 84), (190, -214, 45)),
)
_TOP = {"num_tresses": 12, "locks_per_tress": 4, "wave": 4.0, "wave_turns": 0.9, "wave_from": 0.2, "stray": 5.0, "clump": 0.75}
THEO_SIDES = tuple(
    Sheet(
        guides=_side_row(side, y, x_in, x_out, 46.0), num_strands=420, num_tresses=4, wave=0.5, stray=2.0, width=0.62,
        clump=0.2, root_spread=0.35, num_pieces=6, shade=0.9, gloss=0.5, under_width=1.3,
    )
    for side in (-1.0, 1.0)
    for y, x_in, x_out in ((-236, 120, 166), (-206, 134, 178), (-176, 142, 183), (-146, 148, 186), (-116, 150, 187), (-86, 156, 187), (-58, 162, 186), (-34, 166, 184))
)
THEO_FRONT = (
    *THEO_SIDES,
    Sheet(guides=_shift(THEO_TOP, 4, -26, -40, 0.9), num_strands=1500, shade=0.75, num_pieces=30, root_spread=0.3, **_TOP),
    Sheet(guides=_shift(THEO_TOP, 2, -10, -18, 0.97), num_strands=1500, shade=0.9, num_pieces=30, root_spread=0.3, **_TOP),
    Sheet(guides=THEO_TOP, num_strands=2400, num_pieces=30, root_spread=0.22, flyaways=40, length_spread=0.3, **_TOP),
)
THEO_GROUND = (
    (-152, -104), (-176, -150), (-172, -206), (-140, -262), (-70, -300), (10, -310), (90, -298), (150, -256), (180, -200),
    (178, -150), (146, -116), (100, -156), (40, -170), (-20, -172), (-80, -164), (-126, -142),
)

STYLES = {
    "nora": Style(
        NORA_BACK, NORA_FRONT, NORA_BACK_CAP, NORA_CAP,
        Outfit(
            shoulder=Profile(((0, 372), (110, 378), (170, 404), (260, 438), (350, 470), (430, 512), (490, 560), (560, 640))),
            neckline=Profile(((0, 486), (40, 481), (80, 466), (118, 440), (146, 412), (166, 388), (180, 360))),
            colour=rgb("4f6f78"),
        ),
    ),
    "theo": Style(
        (), THEO_FRONT, (), THEO_GROUND,
        Outfit(
            shoulder=Profile(((0, 366), (124, 372), (180, 392), (270, 420), (370, 450), (450, 488), (510, 536), (570, 610))),
            neckline=Profile(((0, 506), (40, 501), (84, 484), (128, 454), (160, 420), (178, 394), (190, 366))),
            colour=rgb("39455c"),
            collar=rgb("dfe4ea"),
        ),
    ),
}
