"""What phantoms are drawn with. Lengths are in mm from the image's middle."""

import cv2
import numpy as np

SUBPIXEL = 4  # fractional bits of the vertices handed to OpenCV


def grid(size, field):
    """Pixel centres of an image of size (H, W) in mm: x float32 (1, W), y float32 (H, 1)."""
    y, x = (((np.arange(n) + 0.5) / n - 0.5) * mm for n, mm in zip(size, field, strict=True))
    return x[None].astype("float32"), y[:, None].astype("float32")


def closed_curve(points, samples=6):
    """A smooth closed curve (uniform Catmull-Rom) through points (P, 2): (samples * P, 2)."""
    t = np.linspace(0, 1, samples, endpoint=False)[:, None, None]
    at, index = np.asarray(points, float), np.arange(len(points))
    before, after, beyond = at[index - 1], at[index + 1 - len(points)], at[index + 2 - len(points)]
    tangent, next_tangent = (after - before) / 2, (beyond - at) / 2
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * at
        + (t**3 - 2 * t**2 + t) * tangent
        + (3 * t**2 - 2 * t**3) * after
        + (t**3 - t**2) * next_tangent
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def to_pixels(curve, size, field):
    """Points (P, 2) in mm as OpenCV's int32 pixels with SUBPIXEL fractional bits."""
    pixels_per_mm = np.array([size[1] / field[1], size[0] / field[0]])
    pixels = (curve + (field[1] / 2, field[0] / 2)) * pixels_per_mm - 0.5
    return np.round(pixels * 2**SUBPIXEL).astype("int32")


def fill(mask, curves, value, field):
    """Fill closed curves (P, 2) in mm on a mask (H, W), in place."""
    for curve in curves:
        cv2.fillPoly(mask, [to_pixels(curve, mask.shape, field)], value, shift=SUBPIXEL)


def stroke(canvas, curve, width, field):
    """Draw an open curve (P, 2) of a width in mm on a canvas uint8 (H, W), in place."""
    pixels = width * np.sqrt(canvas.size / np.prod(field))
    # a line thinner than a pixel is fainter instead
    value = 255 * min(pixels, 1)
    points = [to_pixels(curve, canvas.shape, field)]
    cv2.polylines(canvas, points, False, value, max(round(pixels), 1), cv2.LINE_AA, SUBPIXEL)


def path(start, headings, step):
    """Points (P, 2) in mm from start, each `step` further along the next of headings (P,)."""
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * step
    return np.asarray(start) + np.cumsum(steps, axis=0)


def turned(x, y, centre, axes, angle):
    """Coordinates of points in the frame of an ellipse with these half axes, turned by an angle."""
    # Python's floats leave float32 arrays what they are, numpy's make them float64
    cos, sin, width, height = map(float, (np.cos(angle), np.sin(angle), *axes))
    x, y = x - float(centre[0]), y - float(centre[1])
    return (x * cos + y * sin) / width, (y * cos - x * sin) / height


def draw_waves(count, roughness, rng):
    """Random waves complex64 (count,) of a closed curve; the finer, the weaker."""
    waves = rng.standard_normal((count, 2)) @ (1, 1j) / np.arange(1, count + 1)
    return (roughness * waves).astype("complex64")


def radius_in(x, y, waves):
    """Distance of points from the origin relative to a wavy unit circle: 1 on the curve itself."""
    distance = np.hypot(x, y)
    direction = (x + np.complex64(1j) * y) / np.maximum(distance, np.float32(1e-6))
    wave = np.zeros_like(direction)
    for coefficient in waves[::-1]:
        wave = (wave + coefficient) * direction
    # one more turn: the first wave makes two bumps, since one bump would only move the curve
    return distance / np.exp((wave * direction).real)


def tube(x, y, middle, axes, angle=0.0, waves=()):
    """Distance (H, W, S) of points (H, W, 1) from a tube's middle in S slices, 1 on its wall.

    Args:
        middle, axes: the tube's middle and half axes (x, y) in mm, numbers or arrays (S,).
        angle: by which all of its cross-sections are turned.
        waves: of its outline, as from draw_waves.
    """
    # the smallest axes keep a slice without a cross-section free of any voxel
    width, height = (np.maximum(axis, 1e-3, dtype="float32") for axis in axes)
    middle_x, middle_y = (np.asarray(axis, "float32") for axis in middle)
    x, y = turned(x - middle_x, y - middle_y, (0, 0), (1, 1), angle)
    x, y = x / width, y / height
    return radius_in(x, y, waves) if len(waves) else np.hypot(x, y)


def ellipsoid(x, y, width, height):
    """Thickness of an ellipsoid of these half axes seen from the front, 1 in its middle."""
    return np.sqrt(np.maximum(1 - (x / width) ** 2 - (y / height) ** 2, 0))


def clouds(size, cells, rng):
    """Smooth random field (H, W) of about unit variance, with `cells` bumps along each side."""
    coarse = rng.standard_normal((cells, cells)).astype("float32")
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
