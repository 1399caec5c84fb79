"""The people of the portraits, by name: all lengths in face units (see geometry.py), colours as sRGB 0..1."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.assets.portrait.geometry import Pose

Colour = tuple[float, float, float]
Pairs = tuple[tuple[float, float], ...]


def rgb(code: str) -> Colour:
    """'e8c4a8' → sRGB 0..1."""
    return int(code[0:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:6], 16) / 255


@dataclass(frozen=True)
class Lips:
    """Outlines as y(x) for x from the middle (0) to the corner; y relative to ``y``."""

    y: float
    upper: Pairs
    seam: Pairs
    lower: Pairs
    colour: Colour
    fullness: float

    @property
    def half_width(self) -> float:
        return self.seam[-1][0]


@dataclass(frozen=True)
class Eyes:
    """Lid outlines of the image's right eye as y(x), inner corner to outer corner; the left one mirrors it."""

    upper: Pairs
    lower: Pairs
    crease: Pairs
    centre_x: float
    iris_y: float
    iris_radius: float
    iris_rim: Colour
    iris_mid: Colour
    iris_core: Colour
    lash_length: float
    liner: float


@dataclass(frozen=True)
class Brow:
    """Centre line (x, y) from the inner end outwards, and half thickness along it."""

    line: Pairs
    half_thickness: Pairs
    colour: Colour
    num_strokes: int
    opacity: float


@dataclass(frozen=True)
class Nose:
    """Height of the ridge and its width as functions of y; positions of tip, wings and base."""

    ridge: Pairs
    width: Pairs
    tip_y: float
    wing_x: float
    wing_y: float
    wing_height: float
    base_y: float


@dataclass(frozen=True)
class Person:
    """Everything that distinguishes a face.

    ``outline``: right half of the face, from the top clockwise. ``depth``: height of the face towards the viewer.
    ``chin``: y, width and height. ``neck``: half width as a function of y. ``flush``, ``stubble``, ``freckles``:
    strengths, 0..1. ``brow_ridge``, ``cheek``, ``jaw_line``: heights. ``seed``: of all random detail.
    """

    name: str
    seed: int
    pose: Pose
    outline: Pairs
    depth: float
    lips: Lips
    eyes: Eyes
    brow: Brow
    nose: Nose
    skin: Colour
    flush: float
    brow_ridge: float
    cheek: float
    jaw_line: float
    chin: tuple[float, float, float]
    neck: Pairs
    stubble: float
    freckles: float
    ears: bool
    hairline_y: float
    hair_dark: Colour
    hair_mid: Colour
    hair_light: Colour
    background: tuple[Colour, Colour] = field(default=(rgb("b9bdbe"), rgb("6f777d")))


NORA = Person(
    name="nora",
    seed=11,
    pose=Pose(centre_x=508.0, eye_y=440.0, roll_deg=-1.2, wander=(1.1, 0.9, 0.9, 0.7)),
    outline=(
        (0, -262),
        (62, -250),
        (116, -212),
        (154, -150),
        (170, -80),
        (174, -10),
        (172, 46),
        (164, 102),
        (145, 154),
        (121, 201),
        (89, 242),
        (54, 272),
        (28, 283),
        (0, 285),
    ),
    depth=172.0,
    lips=Lips(
        y=175.0,
        upper=((0, -16.5), (11, -20.5), (26, -18.0), (46, -12.2), (62, -9.4), (72, -8.4)),
        seam=((0, 2.0), (12, 0.9), (30, 1.2), (50, -1.0), (64, -5.8), (72, -8.4)),
        lower=((0, 27.0), (14, 26.6), (30, 22.6), (48, 12.4), (62, 0.4), (72, -8.4)),
        colour=rgb("c96f6f"),
        fullness=1.0,
    ),
    eyes=Eyes(
        upper=((41, 5.5), (46, 0.0), (57, -9.8), (74, -16.2), (91, -16.6), (108, -12.0), (121, -4.8), (129, -1.2)),
        lower=((41, 5.5), (49, 7.8), (64, 11.2), (80, 13.6), (97, 13.8), (111, 10.3), (121.5, 4.8), (129, -1.2)),
        crease=((43, -8), (57, -18.5), (76, -25.0), (95, -25.0), (114, -19.0), (130, -9.5), (138, -2)),
        centre_x=84.5,
        iris_y=-1.2,
        iris_radius=16.8,
        iris_rim=rgb("2a2a26"),
        iris_mid=rgb("6a7a70"),
        iris_core=rgb("8e6a40"),
        lash_length=12.0,
        liner=0.7,
    ),
    brow=Brow(
        line=((35, -46), (56, -53), (82, -58.5), (108, -58.5), (129, -51), (142, -43)),
        half_thickness=((0, 5.2), (0.2, 6.8), (0.5, 6.2), (0.75, 4.6), (1, 1.5)),
        colour=rgb("644735"),
        num_strokes=400,
        opacity=0.78,
    ),
    nose=Nose(
        ridge=(
            (-60, 0),
            (-34, 6),
            (-10, 13),
            (20, 25),
            (48, 39),
            (74, 52),
            (90, 58),
            (102, 57),
            (111, 47),
            (118, 30),
            (125, 11),
            (135, 1),
            (146, 0),
        ),
        width=((-60, 16), (-10, 12), (20, 12.5), (56, 15), (86, 20.5), (108, 26), (146, 30)),
        tip_y=91.0,
        wing_x=27.0,
        wing_y=98.5,
        wing_height=16.0,
        base_y=118.5,
    ),
    skin=rgb("eabda5"),
    flush=1.0,
    brow_ridge=4.0,
    cheek=13.0,
    jaw_line=0.0,
    chin=(259.0, 33.0, 11.0),
    neck=((150, 118), (290, 108), (350, 108), (400, 122), (440, 160), (480, 225), (520, 400), (600, 700)),
    stubble=0.0,
    freckles=1.0,
    ears=False,
    hairline_y=-138.0,
    hair_dark=rgb("20130c"),
    hair_mid=rgb("683f28"),
    hair_light=rgb("a5744c"),
)

THEO = Person(
    name="theo",
    seed=23,
    pose=Pose(centre_x=515.0, eye_y=436.0, roll_deg=1.1, wander=(-1.2, 1.0, -0.9, 0.8)),
    outline=(
        (0, -262),
        (66, -250),
        (122, -212),
        (160, -150),
        (174, -80),
        (178, -10),
        (177, 50),
        (172, 110),
        (161, 165),
        (140, 216),
        (105, 263),
        (66, 292),
        (36, 302),
        (0, 305),
    ),
    depth=176.0,
    lips=Lips(
        y=184.0,
        upper=((0, -11.5), (11, -14.5), (26, -13.2), (46, -10.0), (63, -6.8), (73, -5.0)),
        seam=((0, 1.6), (12, 0.8), (30, 1.0), (50, -0.6), (65, -3.6), (73, -5.0)),
        lower=((0, 21.5), (14, 21.2), (30, 18.4), (48, 11.0), (63, 1.6), (73, -5.0)),
        colour=rgb("b96d66"),
        fullness=0.85,
    ),
    eyes=Eyes(
        upper=((43, 5), (48, 0.2), (59, -7.6), (74, -12.2), (90, -12.8), (106, -9.6), (119, -4.0), (126, -0.6)),
        lower=((43, 5), (51, 7.4), (64, 10.4), (80, 12.6), (96, 12.6), (110, 9.4), (119, 4.4), (126, -0.6)),
        crease=((45, -7), (58, -15), (76, -19.5), (94, -19.0), (112, -14.0), (128, -5), (136, 2)),
        centre_x=84.0,
        iris_y=-0.2,
        iris_radius=15.8,
        iris_rim=rgb("1d120c"),
        iris_mid=rgb("6a4526"),
        iris_core=rgb("8f6134"),
        lash_length=5.5,
        liner=0.15,
    ),
    brow=Brow(
        line=((34, -38), (56, -44), (84, -49.5), (110, -48), (132, -39), (144, -31)),
        half_thickness=((0, 7.0), (0.2, 9.0), (0.5, 8.4), (0.75, 6.6), (1, 2.2)),
        colour=rgb("3a2a22"),
        num_strokes=760,
        opacity=0.82,
    ),
    nose=Nose(
        ridge=(
            (-60, 0),
            (-34, 8),
            (-10, 17),
            (20, 31),
            (50, 46),
            (80, 58),
            (97, 64),
            (110, 62),
            (119, 51),
            (126, 32),
            (133, 12),
            (143, 1),
            (154, 0),
        ),
        width=((-60, 17), (-10, 13), (20, 14), (56, 17), (88, 22.5), (110, 28), (146, 32)),
        tip_y=98.0,
        wing_x=31.5,
        wing_y=106.0,
        wing_height=17.0,
        base_y=127.0,
    ),
    skin=rgb("d9a685"),
    flush=0.75,
    brow_ridge=9.0,
    cheek=10.0,
    jaw_line=4.0,
    chin=(272.0, 38.0, 13.0),
    neck=((150, 136), (290, 122), (350, 124), (392, 140), (425, 178), (470, 250), (520, 420), (600, 700)),
    stubble=1.0,
    freckles=0.0,
    ears=True,
    hairline_y=-134.0,
    hair_dark=rgb("120d0b"),
    hair_mid=rgb("35261e"),
    hair_light=rgb("5f4636"),
    background=(rgb("b8b5b2"), rgb("62646a")),
)

PEOPLE = {person.name: person for person in (NORA, THEO)}
