"""MRI-like prostates: T2 and ADC of a pelvis, with the gland's two zones in every slice."""

import cv2
import numpy as np

from transfuse_keras.data.phantoms.drawing import draw_waves, grid, tube

FIELD = (200.0, 200.0)  # height and width of a slice in mm
SLICES = 16  # from the feet towards the head
THICKNESS = 3.6  # distance of slices in mm

# signal of tissues in (T2, ADC)
FAT, MARROW, CORTEX, MUSCLE = (0.7, 0.14), (0.55, 0.12), (0.06, 0.08), (0.2, 0.5)
WALL, GAS, STOOL, URINE, VEIN = (0.3, 0.55), (0.03, 0.06), (0.45, 0.5), (1.25, 1.35), (0.95, 0.9)
CAPSULE, PERIPHERAL, TRANSITION = (0.22, 0.5), (0.85, 0.85), (0.47, 0.62)
LESION, GLANDULAR, STROMAL = (0.4, 0.38), (0.8, 0.85), (0.28, 0.42)


def draw(size, rng):
    """One phantom volume.

    Args:
        size: (H, W) in pixels, showing FIELD.
        rng: numpy Generator; the anatomy does not depend on the size.

    Returns: image float32 (SLICES, H, W, 2) of T2 and ADC, each with mean 0 and standard
    deviation 1 over the volume; masks uint8 (SLICES, H, W, 2) of peripheral and transition zone,
    which exclude each other.
    """
    x, y = (axis[..., None] for axis in grid(size, FIELD))
    x, y = x - rng.normal(0, 5), y - rng.normal(0, 7)
    gland, inner, middle, axes = draw_gland(x, y, rng)
    # slices last, where OpenCV takes them for channels
    signal = np.zeros((2, *size, SLICES), "float32")
    z = (np.arange(SLICES) - (SLICES - 1) / 2) * THICKNESS
    draw_frame(x, y, z, signal, middle, rng)
    draw_organs(x, y, z, signal, middle, axes, rng)
    peripheral, transition = (gland < 1) & (inner >= 1), (gland < 1) & (inner < 1)
    draw_zones(x, y, signal, (gland, inner), (peripheral, transition), middle, axes, rng)
    image = scan(signal, size, rng)
    masks = np.stack([peripheral, transition]).astype("uint8")
    image, masks = (np.ascontiguousarray(v.transpose(3, 1, 2, 0)) for v in (image, masks))
    return image, masks


def draw_gland(x, y, rng):
    """The prostate through the slices.

    Returns: how far out voxels lie, float32 (H, W, SLICES) and 1 on the border, in the gland and
    in its transition zone, which may stick out of it; the gland's middle and half axes (x, y) in
    mm (2, SLICES), about 0 where it is absent.
    """
    z = np.arange(SLICES)
    # the tips lie well between two slices: none of these cuts off less than can be seen
    feet, head = rng.choice((0, 1), 2) + rng.uniform(0.1, 0.7, 2)
    head = SLICES - 1 - head
    along = (2 * z - feet - head) / (head - feet)  # from -1 at the apex to 1 at the base
    taper = np.maximum(1 - np.abs(along) ** 2.4, 0) ** 0.5 * (1 + 0.12 * np.clip(along, -1, 1))
    axes = np.outer((rng.uniform(21, 30), rng.uniform(15, 23)), taper)
    # the base lies further back than the apex
    middle = np.stack([0 * z, rng.uniform(2, 7) * along])
    roll = rng.normal(0, 0.06)
    gland = tube(x, y, middle, axes, roll, draw_waves(4, 0.04, rng))

    start = rng.uniform(-0.8, -0.5)  # no transition zone at the apex
    grown = np.clip((along - start) / (1 - start), 0, 1)
    grown = np.sin(0.85 * np.pi * grown**0.8) ** 0.4
    inner_axes = axes * rng.uniform(0.55, 0.88) * rng.uniform(0.92, 1.08, (2, 1)) * grown
    forward = rng.uniform(0.5, 1.0) * (axes[1] - inner_axes[1])
    inner = tube(x, y, middle - [0 * z, forward], inner_axes, roll, draw_waves(5, 0.07, rng))
    return gland, inner, middle, axes


def ball(z, axis):
    """Scale (SLICES,) in 0-1 of an ellipsoid's cross-sections z mm from its middle."""
    return np.sqrt(np.maximum(1 - (z / axis) ** 2, 0))


def paint(signal, where, tissue, rng):
    """Give a tissue's signal, which varies with the patient, to voxels (H, W, SLICES), in place."""
    for volume, value in zip(signal, tissue, strict=True):
        np.copyto(volume, np.float32(value * np.exp(rng.normal(0, 0.12))), where=where)


def paint_bone(signal, distance, cortex, rng):
    """Draw bone where the distance is below 1, in place; `cortex` is its wall's share of it."""
    paint(signal, distance < 1, CORTEX, rng)
    paint(signal, distance < 1 - cortex, MARROW, rng)


def draw_frame(x, y, z, signal, middle, rng):
    """Draw fat, bones and muscles on signal (2, H, W, SLICES), in place; z in mm (SLICES,)."""
    body = tube(x, y, (0, rng.normal(5, 4)), (rng.uniform(115, 165), rng.uniform(86, 108)))
    paint(signal, body < 1, FAT, rng)
    back, hip = rng.uniform(60, 78), (rng.uniform(80, 92), rng.uniform(-22, -6))
    for side in (-1, 1):
        wide = side * rng.uniform(0.95, 1.08)
        gluteus = tube(x, y, (wide * 62, back), (rng.uniform(42, 55), 20), side * -0.5)
        paint(signal, gluteus < 1, MUSCLE, rng)
        socket = tube(x, y, (wide * (hip[0] - 4), hip[1] + 6), (30, 40), side * 0.25)
        paint_bone(signal, socket, 0.1, rng)
        radius = rng.uniform(22, 27) * ball(z - rng.uniform(0, 25), 40)
        paint_bone(signal, tube(x, y, (wide * hip[0], hip[1]), (radius, radius)), 0.15, rng)
        at = wide * rng.uniform(45, 51), rng.uniform(-8, 4)
        obturator = tube(x, y, at, (rng.uniform(7, 11), 37), side * rng.uniform(-0.1, 0.3))
        paint(signal, obturator < 1, MUSCLE, rng)
        levator = wide * (rng.uniform(31, 36) + 0.15 * z), middle[1] + 14
        paint(signal, tube(x, y, levator, (3, 24), side * 0.25) < 1, MUSCLE, rng)
        pubis = np.outer((26, 13), ball(z + rng.uniform(18, 30), 30))
        pubis = tube(x, y, (wide * 24, rng.uniform(-58, -48)), pubis, side * 0.5)
        paint_bone(signal, pubis, 0.15, rng)


def draw_organs(x, y, z, signal, middle, axes, rng):
    """Draw bladder, rectum, veins and seminal vesicles around the gland, as draw_frame."""
    front, rear = middle[1] - axes[1], middle[1] + axes[1]
    full = rng.uniform(22, 42), rng.uniform(15, 28)
    section = np.outer(full, ball(z - rng.uniform(24, 38), rng.uniform(28, 40)))
    bladder = 0 * z + rng.normal(0, 4), front - section[1] + rng.uniform(4, 12)
    bladder = tube(x, y, bladder, section, rng.normal(0, 0.1), draw_waves(4, 0.05, rng))
    for share, tissue in ((1.12, WALL), (1, URINE)):
        paint(signal, bladder < share, tissue, rng)

    radius = rng.uniform(10, 18) * (1 + 0.25 * np.sin(z / 14 + rng.uniform(0, 6)))
    behind = np.maximum(rear.mean() + rng.uniform(3, 7), rear) + radius
    section = radius * rng.uniform(1, 1.3), radius
    rectum = 0 * z + rng.normal(0, 3), behind
    rectum = tube(x, y, rectum, section, 0, draw_waves(5, 0.06, rng))
    content = STOOL if rng.random() < 0.5 else GAS
    for share, tissue in ((1, WALL), (rng.uniform(0.7, 0.85), content)):
        paint(signal, rectum < share, tissue, rng)

    for _ in range(rng.integers(6, 16)):
        turn = rng.uniform(0, 2 * np.pi)
        out = (axes.max(axis=1) + rng.uniform(1, 6)) * (np.cos(turn), np.sin(turn))
        vein = middle + out[:, None] + rng.normal(0, 0.15, (2, 1)) * z
        paint(signal, tube(x, y, vein, rng.uniform(1.5, 4.5, 2)) < 1, VEIN, rng)
    for side in (-1, 1):
        section = np.outer((20, 6), ball(z - rng.uniform(24, 32), rng.uniform(12, 22)))
        vesicle = 0 * z + side * 18, rear + rng.uniform(-2, 3)
        turn = side * rng.uniform(-0.4, 0.1)
        vesicle = tube(x, y, vesicle, section, turn, draw_waves(6, 0.2, rng))
        paint(signal, vesicle < 1, VEIN, rng)


def draw_zones(x, y, signal, distance, zones, middle, axes, rng):
    """Draw the gland on signal (2, H, W, SLICES), in place: both zones with what they hold.

    Args:
        distance: from the middle of gland and transition zone, two of (H, W, SLICES).
        zones: peripheral and transition zone, two of bool (H, W, SLICES).
        middle, axes: of the gland, in mm (2, SLICES).
    """
    # a small window: the many nodules would take too long on the whole of it
    near = [np.flatnonzero(np.abs(axis) < 45) for axis in (y, x)]
    rows, columns = (slice(at[0], at[-1] + 1) for at in near)
    x, y, signal = x[:, columns], y[rows], signal[:, rows, columns]
    distance, zones = ([part[rows, columns] for part in parts] for parts in (distance, zones))
    paint(signal, (distance[0] >= 1) & (distance[0] < 1.06), CAPSULE, rng)
    paint(signal, zones[0], PERIPHERAL, rng)
    paint(signal, zones[1], TRANSITION, rng)
    paint(signal, zones[0] & (distance[1] < 1.07), CAPSULE, rng)
    z = np.arange(SLICES) * THICKNESS
    contents = [(0, LESION)] * rng.integers(0, 4) + [(1, LESION)] * rng.integers(0, 2)
    contents += [(1, GLANDULAR)] * rng.integers(2, 7) + [(1, STROMAL)] * rng.integers(2, 7)
    for zone, tissue in contents:
        height, turn = rng.uniform(3, SLICES - 4) * THICKNESS, rng.uniform(0, np.pi)
        out = rng.uniform(0.65, 0.95) if zone == 0 else rng.uniform(0, 0.6)
        turn = turn if zone == 0 else 2 * turn
        at = middle + axes * (out * np.array([[np.cos(turn)], [np.sin(turn)]]))
        radius = rng.uniform(3, 8)
        half = radius * ball(z - height, 1.3 * radius) * rng.uniform(0.6, 1.0, (2, 1))
        nodule = tube(x, y, at, half, rng.uniform(0, np.pi), draw_waves(3, 0.1, rng))
        paint(signal, zones[zone] & (nodule < 1), tissue, rng)


def scan(signal, size, rng):
    """Texture, coil, resolution and noise on signal (2, H, W, SLICES); returns it z-scored."""
    for image, blur in zip(signal, (0.6, 1.6), strict=True):
        image *= 1 + 0.12 * clouds_through(size, 40, rng) + 0.08 * clouds_through(size, 14, rng)
        image *= np.exp(rng.uniform(0.1, 0.35) * clouds_through(size, 3, rng, SLICES))
        sigma = np.hypot(rng.uniform(0.7, 1.3) * blur * size[0] / FIELD[0], 0.3)
        image[:] = cv2.GaussianBlur(image, (0, 0), sigma)
    # the noise comes last, since it alone takes as many random numbers as there are voxels
    for image in signal:
        level = rng.uniform(0.02, 0.08)
        real, imaginary = level * rng.standard_normal((2, *image.shape), "float32")
        image[:] = np.hypot(image + real, imaginary)
        image -= image.mean(dtype="float64")
        image /= image.std(dtype="float64")
    return signal


def clouds_through(size, cells, rng, reach=2):
    """Smooth random field (H, W, SLICES) of about unit variance; `reach` slices are much alike."""
    coarse = rng.standard_normal((cells, cells, SLICES + reach)).astype("float32")
    total = np.cumsum(coarse, axis=2)
    coarse = (total[..., reach:] - total[..., :-reach]) / np.float32(np.sqrt(reach))
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
