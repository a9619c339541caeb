"""Random changes of training batches, image and masks together, in TensorFlow."""

import math

import tensorflow as tf

# luminance and two colour axes (NTSC); a turn of these two changes the hue
YIQ = [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]


def augment(images, masks, task, seed):
    """Augment a batch as `task.augmentation` says, every image by its own draw.

    Rotation, scale, shift and flips are one projective transform: bilinear on the image, nearest
    on the masks, so these stay 0/1; what comes in from outside is 0. A horizontal flip exchanges
    the maps of `task.mirror_pairs`.

    Args:
        images: (B, H, W, C) uint8 or float32 tensor, 0-255; H, W and C static.
        masks: (B, H, W, M) uint8 tensor of 0/1.
        task: Task.
        seed: integer tensor (2,); equal seeds give equal results.

    Returns: images float32 (B, H, W, C) in 0-255, masks uint8 (B, H, W, M).
    """
    a = task.augmentation
    _, height, width, channels = images.shape
    draws = tf.random.stateless_uniform([11, tf.shape(images)[0]], seed, -1.0, 1.0)
    moved, angle, zoom, right, down, mirrored, upended, light, contrast, saturation, hue = (
        tf.unstack(draws)
    )
    moved = tf.cast(moved < 2 * a.probability - 1, tf.float32)
    mirrored = (mirrored < 0) & a.flip_horizontal
    upended = (upended < 0) & a.flip_vertical

    transforms = affine(
        angle=moved * angle * math.radians(a.rotation),
        zoom=1 + moved * zoom * a.scale,
        shift=(moved * right * a.shift * width, moved * down * a.shift * height),
        flip=(1 - 2 * tf.cast(mirrored, tf.float32), 1 - 2 * tf.cast(upended, tf.float32)),
        size=(height, width),
    )
    images = tf.cast(warp(images, transforms, "BILINEAR"), tf.float32)
    masks = warp(masks, transforms, "NEAREST")
    swapped = tf.gather(masks, task.mirrored_classes, axis=-1)
    masks = tf.where(mirrored[:, None, None, None], swapped, masks)

    if channels == 3 and (a.saturation or a.hue):
        images = shift_colour(images, 1 + saturation * a.saturation, hue * a.hue * 2 * math.pi)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    images = mean + (images - mean) * (1 + contrast * a.contrast)[:, None, None, None]
    images = images * (1 + light * a.brightness)[:, None, None, None]
    return tf.clip_by_value(images, 0.0, 255.0), masks


def affine(angle, zoom, shift, flip, size):
    """Transforms (B, 8) from output to input pixels, about the centre of the image.

    Args:
        angle: (B,) radians, counter-clockwise.
        zoom: (B,) magnification.
        shift: pair of (B,), pixels to the right and down.
        flip: pair of (B,), -1 where x or y is flipped.
        size: (height, width) in pixels.
    """
    center_x, center_y = (size[1] - 1) / 2, (size[0] - 1) / 2
    cos, sin = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    xx, xy, yx, yy = flip[0] * cos, -flip[0] * sin, flip[1] * sin, flip[1] * cos
    x, y = center_x + shift[0], center_y + shift[1]
    zero = tf.zeros_like(angle)
    rows = [xx, xy, center_x - xx * x - xy * y, yx, yy, center_y - yx * x - yy * y, zero, zero]
    return tf.stack(rows, axis=1)


def warp(images, transforms, interpolation):
    """Sample `images` at the transformed coordinates, 0 outside."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=images.shape[1:3],
        interpolation=interpolation,
        fill_mode="CONSTANT",
        fill_value=0.0,
    )


def shift_colour(images, saturation, turn):
    """Scale the saturation (B,) and turn the hue by `turn` (B,) radians, in one 3x3 matrix."""
    cos, sin = saturation * tf.cos(turn), saturation * tf.sin(turn)
    one, zero = tf.ones_like(turn), tf.zeros_like(turn)
    matrix = tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1)
    matrix = tf.reshape(matrix, [-1, 3, 3])
    matrix = tf.linalg.inv(tf.constant(YIQ)) @ matrix @ tf.constant(YIQ)
    return tf.einsum("bhwc,bdc->bhwd", images, matrix)
