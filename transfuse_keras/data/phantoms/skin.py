"""Dermoscopy-like images: one lesion on skin of any tone, under hairs, bubbles and a ruler."""

import cv2
import numpy as np

from transfuse_keras.data.phantoms.drawing import (
    clouds,
    draw_waves,
    fill,
    grid,
    path,
    radius_in,
    stroke,
    turned,
)

FIELD = (18.0, 24.0)  # height and width of the image in mm

# RGB of skin in even light, from fair to dark
TONES = np.array([(240, 208, 190), (225, 175, 150), (190, 135, 105), (130, 88, 66), (88, 58, 46)])
STICKERS = [(60, 90, 190), (50, 150, 80), (225, 190, 50), (210, 70, 60), (120, 70, 50)]


def draw(size, rng):
    """One phantom dermoscopy.

    Args:
        size: (H, W) in pixels, showing FIELD.
        rng: numpy Generator; the anatomy does not depend on the size.

    Returns: image uint8 (H, W, 3) RGB; mask uint8 (H, W, 1) of the lesion.
    """
    x, y = grid(size, FIELD)
    image = draw_skin(size, rng)
    centre, radius = rng.normal(0, 1, 2) * (2.5, 1.8), 1.8 * np.exp(rng.uniform(0, 1.4))
    inside = draw_lesion(x, y, size, centre, radius, image, rng)
    if rng.random() < 0.2:
        draw_sticker(size, centre, radius, image, rng)
    draw_hairs(size, image, rng)
    if rng.random() < 0.3:
        draw_bubbles(x, y, image, rng)
    if rng.random() < 0.25:
        draw_ruler(size, image, rng)
    image *= draw_light(x, y, rng)[..., None]
    # the noise comes last, since it alone takes as many random numbers as there are pixels
    image += rng.uniform(1, 5) * rng.standard_normal((*size, 3), "float32")
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.7))
    return np.clip(image, 0, 255).astype("uint8"), (inside < 1).astype("uint8")[..., None]


def draw_skin(size, rng):
    """Skin without lesion, float32 (H, W, 3) in 0-255: tone, redness, furrows and freckles."""
    tone = rng.uniform(0, len(TONES) - 1)
    skin = [np.interp(tone, np.arange(len(TONES)), channel) for channel in TONES.T]
    skin = (np.array(skin) * np.exp(rng.normal(0, 0.05, 3))).astype("float32")
    mottle = (
        0.05 * clouds(size, 5, rng) + 0.03 * clouds(size, 20, rng) + 0.03 * clouds(size, 60, rng)
    )
    image = skin * (1 + rng.uniform(0.3, 1.3) * mottle[..., None])
    flush = np.clip(clouds(size, 4, rng), 0, 1.5)[..., None]
    image *= 1 - rng.uniform(0, 0.3) * flush * np.array([0.1, 0.7, 0.6], "float32")
    freckles = np.zeros(size, "uint8")
    for _ in range(rng.poisson(3)):
        circle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        spot = rng.uniform(-0.5, 0.5, 2) * FIELD[::-1] + path(
            (0, 0), circle, rng.uniform(0.1, 0.35)
        )
        fill(freckles, [spot], int(rng.integers(60, 255)), FIELD)
    freckles = cv2.GaussianBlur(freckles, (0, 0), 1.0)[..., None] / np.float32(255)
    return image * (1 - freckles * np.array([0.3, 0.45, 0.5], "float32"))


def draw_lesion(x, y, size, centre, radius, image, rng):
    """Draw the lesion on the skin, in place.

    Returns: distance float32 (H, W) from its middle, 1 on its border, for the mask.
    """
    axes = radius * np.array([1.0, rng.uniform(0.6, 1.0)])
    u, v = turned(x, y, centre, axes, rng.uniform(0, np.pi))
    inside = radius_in(u, v, draw_waves(9, rng.uniform(0.05, 0.16), rng))
    softness = rng.uniform(0.02, 0.12)
    cover = (1 - np.tanh((inside - 1 + 0.04 * clouds(size, 24, rng)) / (2 * softness))) / 2

    # log of the light that two pigments let through: brown melanin above red blood
    depth = rng.uniform(0.35, 1.1)
    brown = depth * np.exp(rng.normal(0, 0.1, 3)) * (0.65, 1.0, 1.15)
    red = rng.uniform(0.4, 0.8) * np.array([0.15, 1.0, 0.8])
    share = 1 / (1 + np.exp(rng.normal(1.5, 2) + 1.5 * clouds(size, 5, rng)))[..., None]
    amount = 1 + rng.uniform(0.1, 0.4) * clouds(size, 6, rng)
    amount += rng.uniform(-0.3, 0.5) * (0.6 - inside)
    # the zeros of a random field form a net of thin lines with holes of even width
    net = np.exp(-((clouds(size, int(rng.integers(22, 40)), rng) / 0.35) ** 2)) - 0.5
    amount += rng.uniform(0, 0.5) * net * np.clip(clouds(size, 4, rng) + 0.5, 0, 1)
    amount += rng.uniform(0, 0.9) * np.clip(clouds(size, 26, rng) - 1.4, 0, 1)  # dots
    absorbed = (1 - share) * brown.astype("float32") + share * red.astype("float32")
    absorbed = absorbed * np.maximum(amount, 0.5)[..., None]
    image *= np.exp(-cover[..., None] * absorbed)

    veil = rng.uniform(0.3, 0.9) * (rng.random() < 0.35) * cover  # bluish
    veil = (veil * np.clip(clouds(size, 4, rng), 0, 1))[..., None]
    image *= 1 - veil * np.array([0.7, 0.45, 0.1], "float32")
    return inside


def draw_hairs(size, image, rng):
    """Lay hairs over the image, in place: none, few or many, mostly dark."""
    hairs = np.zeros(size, "uint8")
    comb = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.choice((0, 3, 8, 18, 35), p=(0.3, 0.2, 0.2, 0.2, 0.1))):
        curl = rng.normal(0, 0.9) * np.linspace(0, 1, 24)
        start = rng.uniform(-0.6, 0.6, 2) * FIELD[::-1]
        hair = path(start, comb + rng.normal(0, 0.6) + curl, rng.uniform(0.15, 0.6))
        stroke(hairs, hair, rng.uniform(0.06, 0.17), FIELD)
    grey = 190 if rng.random() < 0.1 else rng.uniform(15, 60)
    colour = np.array([1.0, 0.8, 0.7], "float32") * grey
    image += hairs[..., None] * (rng.uniform(0.6, 0.95) / np.float32(255)) * (colour - image)


def draw_sticker(size, centre, radius, image, rng):
    """Put a coloured patch beside the lesion, in place."""
    away, patch = rng.uniform(0, 2 * np.pi), rng.uniform(3, 7)
    # clear of the lesion's bumps, so that the mask stays what is seen of it
    middle = centre + (1.7 * radius + patch) * np.array([np.cos(away), np.sin(away)])
    circle = np.linspace(0, 2 * np.pi, 40, endpoint=False)[:, None]
    outline = middle + patch * np.concatenate([np.cos(circle), np.sin(circle)], axis=1)
    cover = np.zeros(size, "uint8")
    fill(cover, [outline], 1, FIELD)
    colour = np.array(STICKERS[rng.integers(len(STICKERS))], "float32") * rng.uniform(0.7, 1.1)
    image[cover > 0] = (1 + 0.05 * clouds(size, 8, rng)[cover > 0])[:, None] * colour


def draw_bubbles(x, y, image, rng):
    """Float gel bubbles with bright rims over the image, in place."""
    for _ in range(rng.integers(1, 10)):
        centre, radius = rng.uniform(-0.5, 0.5, 2) * FIELD[::-1], rng.uniform(0.2, 1.3)
        u, v = turned(x, y, centre, (radius, radius), rng.uniform(0, 2 * np.pi))
        distance = np.hypot(u, v)
        rim = np.exp(-(((distance - 1) * radius / 0.12) ** 2))
        image += (
            rim[..., None] * (rng.uniform(10, 40) + 45 * u / np.maximum(distance, 0.3))[..., None]
        )
        image += 60 * np.exp(-((u - 0.5) ** 2 + v**2) / 0.02)[..., None]


def draw_ruler(size, image, rng):
    """Draw a millimetre scale along the lower or upper border, in place."""
    marks = np.zeros(size, "uint8")
    side, offset = rng.choice((-1, 1)), rng.uniform(0, 1)
    edge = side * (FIELD[0] / 2 - rng.uniform(0.2, 1.2))
    for i in range(int(FIELD[1]) + 1):
        at, length = offset + i - FIELD[1] / 2, 1.6 if i % 5 == 0 else 0.8
        stroke(marks, np.array([(at, edge), (at, edge - side * length)]), 0.12, FIELD)
    image *= 1 - 0.8 * marks[..., None] / np.float32(255)


def draw_light(x, y, rng):
    """Light (H, W) around 1: exposure, a tilt, and in many images dark corners."""
    tilt = rng.normal(0, 0.12, 2).tolist()
    light = rng.uniform(0.75, 1.15) * (1 + tilt[0] * x / FIELD[1] + tilt[1] * y / FIELD[0])
    corner = np.hypot(x, y) / (np.hypot(*FIELD) / 2)
    light *= 1 - rng.uniform(0, 0.5) * corner**2
    if rng.random() < 0.35:
        tube = rng.uniform(0.72, 0.98)
        light *= 0.525 - 0.475 * np.tanh((corner - tube) / rng.uniform(0.016, 0.1))
    return light
