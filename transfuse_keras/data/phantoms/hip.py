"""Radiograph-like hips: pelvis and two femurs, drawn in millimetres and exposed through tissue."""

import cv2
import numpy as np

from transfuse_keras.data.phantoms.drawing import closed_curve, clouds, ellipsoid, fill

FIELD = (350.0, 420.0)  # height and width of the image in mm

# Control points (x, y) in mm of the side on the image's right, the patient's left. The origin is
# on the midline between the hip joints, y points down; the other side is the mirror image.
ILIUM = [(26, -88), (60, -124), (104, -128), (136, -104), (141, -72), (124, -42), (114, -20)]
ACETABULUM = [(112, -12), (98, -8), (85, 2), (80, 15), (84, 30)]
ISCHIUM = [(90, 44), (90, 62), (76, 78), (56, 72), (42, 56), (24, 50), (5, 46)]
PUBIS = [(4, 24), (14, 12), (36, 10), (56, -6), (61, -32), (46, -58), (30, -68)]
FORAMEN = [(34, 32), (52, 20), (68, 30), (70, 46), (56, 56), (42, 46)]
SACRUM = [(0, -96), (34, -100), (40, -80), (28, -48), (14, -18), (5, 0), (0, 2)]
HIP_JOINT = np.array([92.0, 4.0])
HEAD_RADIUS = 24.0
# relative to the hip joint: neck, greater trochanter, shaft, lesser trochanter
FEMUR = [(4, -20), (22, -16), (40, -20), (56, -8), (60, 16), (54, 50), (50, 110), (48, 240)]
FEMUR += [(20, 240), (20, 110), (18, 70), (8, 58), (10, 44), (2, 30), (-8, 18)]


def draw(size, rng):
    """One phantom radiograph.

    Args:
        size: (H, W) in pixels, showing FIELD.
        rng: numpy Generator; the anatomy does not depend on the size.

    Returns: image uint8 (H, W, 3), grayscale in three equal channels, bone bright; masks uint8
    (H, W, 3) of pelvis, left femur (on the image's right) and right femur.
    """
    anatomy = draw_anatomy(rng)
    masks = np.zeros((3, *size), "uint8")
    for part, value, curves in anatomy:
        fill(masks[part], curves, value, FIELD)
    visible = collimation(size, rng)
    masks *= visible
    exposure = np.where(visible, expose(masks, size, rng), rng.uniform(0, 0.05))
    image = np.clip(255 * exposure, 0, 255).astype("uint8")
    return np.repeat(image[..., None], 3, axis=2), np.ascontiguousarray(masks.transpose(1, 2, 0))


def draw_anatomy(rng):
    """Closed curves of one patient as (mask index, fill value, curves in mm), in drawing order."""
    stretch = rng.uniform(0.88, 1.1) * rng.uniform(0.95, 1.05, 2)
    angle = rng.normal(0, np.radians(4))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = rng.normal(0, 1, 2) * (16, 14) + (0, 8)

    def place(points, side):
        points = np.array(points) * (side, 1) * stretch
        return points @ rotation.T + shift

    half = np.array(ILIUM + ACETABULUM + ISCHIUM + PUBIS)
    half = half + rng.normal(0, 2.5, half.shape)
    sacrum = np.array(SACRUM + [(-x, y) for x, y in SACRUM[-2:0:-1]], float)
    foramen = np.array(FORAMEN) + rng.normal(0, 1.5, 2)
    parts = [(0, 1, [place(closed_curve(half), side) for side in (1, -1)])]
    parts += [(0, 0, [place(closed_curve(foramen), side) for side in (1, -1)])]
    parts += [(0, 1, [place(closed_curve(sacrum), 1)])]
    for mask, side in ((1, 1), (2, -1)):
        femur = np.array(FEMUR) * rng.uniform(0.9, 1.1, 2) + rng.normal(0, 1.5, (len(FEMUR), 2))
        turn = rng.normal(0, np.radians(7))
        turn = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        circle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        radius = HEAD_RADIUS * rng.uniform(0.92, 1.1)
        head = radius * np.stack([np.cos(circle), np.sin(circle)], axis=1)
        joint = HIP_JOINT + rng.normal(0, 2, 2)
        curves = [place(joint + curve @ turn.T, side) for curve in (closed_curve(femur), head)]
        parts.append((mask, 1, curves))
    return parts


def collimation(size, rng):
    """The exposed part of the image as bool (H, W): all of it, or without a strip at some sides."""
    visible = np.ones(size, bool)
    strips = np.where(rng.random(4) < 0.25, rng.uniform(0.03, 0.13, 4), 0)
    top, bottom, left, right = np.round(strips * np.repeat(size, 2)).astype(int)
    visible[:top], visible[size[0] - bottom :] = False, False
    visible[:, :left], visible[:, size[1] - right :] = False, False
    return visible


def expose(masks, size, rng):
    """Film density (H, W) in about 0-1 behind bone (masks) and soft tissue."""
    y, x = (np.linspace(-0.5, 0.5, n) * extent for n, extent in zip(size, FIELD, strict=True))
    x, y = (axis.astype("float32") - rng.normal(0, 8) for axis in (x[None], y[:, None]))
    pixels_per_mm = size[0] / FIELD[0]

    def blur(image, millimetres):
        return cv2.GaussianBlur(image, (0, 0), max(millimetres * pixels_per_mm, 0.3))

    bone = np.zeros(size, "float32")
    for mask in masks:
        # the cortex, seen edge on, is denser than the marrow inside
        inside = blur(mask.astype("float32"), 1.2)
        bone += inside * (0.7 + 0.7 * (inside - blur(inside, 7.0)))
    bone *= 1 + 0.15 * clouds(size, 8, rng)

    belly = ellipsoid(x, y - rng.uniform(-110, -60), rng.uniform(190, 250), rng.uniform(120, 190))
    thigh = rng.uniform(85, 115)
    thighs = sum(ellipsoid(x - side * 105, y - 140, thigh, 190) for side in (1, -1))
    tissue = rng.uniform(1.4, 2.8) * belly + rng.uniform(1.4, 2.8) * thighs
    tissue *= 1 + 0.22 * clouds(size, 4, rng)
    for _ in range(rng.integers(2, 6)):  # gas in the bowel
        gas = ellipsoid(
            x - rng.uniform(-90, 90), y - rng.uniform(-150, 0), *rng.uniform(12, 34, 2).tolist()
        )
        tissue -= rng.uniform(0.3, 0.9) * gas
    tilt = rng.normal(0, 0.9, 2).tolist()
    tissue = np.maximum(tissue + tilt[0] * x / FIELD[1] + tilt[1] * y / FIELD[0], 0)

    density = rng.uniform(0.38, 0.66) * bone + 0.6 * tissue
    density += rng.uniform(0.03, 0.08) * blur(rng.standard_normal(size, "float32"), 0.5)
    # automatic exposure, then the film's curve
    density *= rng.uniform(0.8, 1.0) / (density.mean() + 2.2 * density.std())
    return rng.uniform(0.0, 0.1) + 0.9 * np.maximum(density, 0) ** rng.uniform(0.8, 1.2)
