"""Colonoscopy-like frames: the wall of a lit tunnel with folds, and polyps bulging from it."""

import cv2
import numpy as np

from transfuse_keras.data.phantoms.drawing import (
    clouds,
    draw_waves,
    grid,
    path,
    radius_in,
    stroke,
    turned,
)

FIELD = (56.0, 70.0)  # height and width of the image in mm


def draw(size, rng):
    """One phantom frame.

    Args:
        size: (H, W) in pixels, showing FIELD.
        rng: numpy Generator; the anatomy does not depend on the size.

    Returns: image uint8 (H, W, 3) RGB; mask uint8 (H, W, 1) of the polyps seen.
    """
    x, y = grid(size, FIELD)
    height, light = draw_wall(x, y, size, rng)
    albedo = draw_mucosa(size, rng)
    mask = np.zeros(size, bool)
    for _ in range(rng.choice((1, 2, 3), p=(0.7, 0.2, 0.1))):
        mask |= draw_polyp(x, y, size, height, light, albedo, rng)
    shade, gloss = illuminate(x, y, height, size, rng)
    image = albedo * (shade * light * rng.uniform(0.85, 1.25))[..., None]
    image += 255 * gloss[..., None]

    radius, edge = endoscope(x, y, rng)
    image *= np.clip((1 - radius) / edge, 0, 1)[..., None]
    visible = radius < 1 - edge / 2
    # the noise comes last, since it alone takes as many random numbers as there are pixels
    image += rng.uniform(1, 4) * rng.standard_normal((*size, 3), "float32")
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    return np.clip(image, 0, 255).astype("uint8"), (mask & visible).astype("uint8")[..., None]


def draw_wall(x, y, size, rng):
    """The bowel's wall around its lumen: height towards the viewer in mm and light in 0-1."""
    lumen = rng.normal(0, 1, 2) * (20, 15)
    axes = rng.uniform(0.8, 1.2, 2)
    u, v = turned(x, y, lumen, axes, rng.uniform(0, np.pi))
    radius = radius_in(u, v, draw_waves(3, 0.1, rng))  # mm from the lumen's middle
    height = rng.uniform(0.25, 0.7) * radius + 0.8 * clouds(size, 5, rng)
    light = 1 - rng.uniform(0.75, 1) * np.exp(-((radius / rng.uniform(5, 13)) ** 2))
    light *= 1 - np.exp(-radius / 60) * rng.uniform(0, 0.6)

    cosine, sine = u / np.maximum(radius, 1e-3), v / np.maximum(radius, 1e-3)
    at = rng.uniform(8, 16)
    for _ in range(rng.integers(2, 6)):
        middle = rng.uniform(0, 2 * np.pi)
        along = cosine * float(np.cos(middle)) + sine * float(np.sin(middle))
        extent = 1 / (1 + np.exp((rng.uniform(-1.2, 0.5) - along) / 0.12))
        beyond = radius - at - 1.5 * clouds(size, 4, rng)  # mm outwards from the ridge
        width = rng.uniform(1.5, 4)
        # the side towards the viewer slopes, the far side drops and lies in the shadow
        ridge = np.exp(-((beyond / np.where(beyond > 0, 1.8 * width, 0.6 * width)) ** 2))
        height += rng.uniform(1.0, 3.5) * extent * ridge
        shadow = np.exp(-(((beyond + 1.3 * width) / width) ** 2))
        light *= 1 - rng.uniform(0.2, 0.6) * extent * shadow
        at += rng.uniform(6, 14)
    return height, light


def draw_mucosa(size, rng):
    """Colour float32 (H, W, 3) of the wall in even light, with blotches and vessels."""
    red = rng.uniform(185, 250)
    green = red * rng.uniform(0.38, 0.7)
    colour = np.array([red, green, green * rng.uniform(0.65, 1.0)], "float32")
    blotches = 0.7 * clouds(size, 5, rng) + 0.5 * clouds(size, 12, rng)
    tint = np.array([0.03, 0.11, 0.11], "float32") * rng.uniform(0.3, 1.3)
    albedo = colour * (1 + tint * blotches[..., None])
    vessels = np.zeros(size, "uint8")
    for _ in range(rng.integers(0, 9)):
        start = rng.uniform(-0.5, 0.5, 2) * FIELD[::-1]
        headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, 50))
        trunk, width = path(start, headings, 0.7), rng.uniform(0.25, 0.8)
        stroke(vessels, trunk, width, FIELD)
        for fork in rng.integers(5, 45, 3):
            bend = rng.choice((-0.8, 0.8)) + np.cumsum(rng.normal(0, 0.25, 25))
            stroke(vessels, path(trunk[fork], headings[fork] + bend, 0.6), 0.6 * width, FIELD)
    vessels = cv2.GaussianBlur(vessels, (0, 0), 0.6)[..., None] / np.float32(255)
    return albedo * (1 - rng.uniform(0.3, 0.9) * vessels * np.array([0.25, 0.6, 0.5], "float32"))


def draw_polyp(x, y, size, height, light, albedo, rng):
    """Raise one polyp from the wall, in place; returns its mask bool (H, W)."""
    centre = rng.uniform(-0.45, 0.45, 2) * FIELD[::-1]
    radius = 5 * np.exp(rng.uniform(0, 1.15))
    axes = radius * np.array([1.0, rng.uniform(0.65, 1.0)])
    u, v = turned(x, y, centre, axes, rng.uniform(0, np.pi))
    inside = radius_in(u, v, draw_waves(4, 0.07, rng))
    mask = inside < 1
    dome = np.maximum(1 - inside**2, 0) ** rng.uniform(0.5, 0.85)
    # a polyp covers the folds behind it, but joins the wall without a step
    cover = np.clip(5 - 5 * inside, 0, 1)
    level = cv2.GaussianBlur(height, (0, 0), 0.4 * radius * size[0] / FIELD[0])
    height += rng.uniform(0.5, 1) * cover * (level - height)
    height += rng.uniform(0.35, 0.8) * radius * dome
    height += cover * rng.uniform(0, 0.25) * clouds(size, 28, rng)
    light += cover * rng.uniform(0.3, 0.9) * (np.maximum(light, 0.75) - light)
    light *= 1 + rng.uniform(0, 0.35) * dome  # nearer to the lamp
    rim = np.exp(-(((inside - 1.02) / 0.13) ** 2)) * (inside > 1)
    light *= 1 - rng.uniform(0, 0.4) * rim
    tint = np.exp(rng.normal(0, 0.07) * np.array([0.2, 1, 1]) + rng.normal(0, 0.03, 3)).astype(
        "float32"
    )
    texture = 1 + rng.uniform(0.02, 0.09) * clouds(size, 36, rng)
    albedo *= np.where(mask[..., None], tint * texture[..., None], 1)
    return mask


def illuminate(x, y, height, size, rng):
    """Diffuse and mirrored light (H, W) in 0-1 from the endoscope's lamp."""
    rows, columns = (mm / pixels for mm, pixels in zip(FIELD, size, strict=True))
    bumps = cv2.GaussianBlur(height, (0, 0), 0.6) + 0.06 * clouds(size, 40, rng)
    slope_y, slope_x = np.gradient(bumps, rows, columns)
    distance = rng.uniform(35, 70)
    lamp_x, lamp_y = rng.normal(0, 8, 2).tolist()
    to_x, to_y = (lamp_x - x) / distance, (lamp_y - y) / distance
    facing = 1 / np.sqrt((1 + slope_x**2 + slope_y**2) * (1 + to_x**2 + to_y**2))
    facing = np.maximum((1 - slope_x * to_x - slope_y * to_y) * facing, 0)
    ambient = rng.uniform(0.15, 0.4)
    wet = facing ** rng.uniform(60, 160) + 0.07 * clouds(size, 32, rng)
    gloss = np.clip((wet - rng.uniform(0.86, 0.98)) * 9, 0, 1)
    return ambient + (1 - ambient) * facing**1.3, gloss


def endoscope(x, y, rng):
    """Distance (H, W) from the view's middle, 1 at its black border, and the border's softness."""
    half = rng.uniform(1.02, 1.25) if rng.random() < 0.65 else 3.0
    squareness = rng.uniform(2, 6)
    u, v = (np.abs(axis) / (mm / 2 * half) for axis, mm in ((x, FIELD[1]), (y, FIELD[0])))
    return (u**squareness + v**squareness) ** (1 / squareness), rng.uniform(0.02, 0.12)
