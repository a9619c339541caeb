"""Pictures of all cases for the report: each image once, and the outlines of its masks as paths."""

import base64

import cv2
import numpy as np

from transfuse_keras.data.pictures import select_visible_slice
from transfuse_keras.data.resize import resize_image, resize_masks
from transfuse_keras.errors import SCORE_AGAIN, InputError

SIDE = 512  # longest side of a picture, and of the grid that outlines are drawn on
SIMPLER = 0.7  # grid units that an outline may be off
QUALITY = 80
BUDGET = 5_000_000  # bytes of all pictures in a page
MOST_PICTURES = 1000  # pictures in a page
PICTURE_SIDES = (512, 384, 256, 192, 128, 96)  # of these the largest with which the budget is kept
SMALL_QUALITY = 70
TRIED = 20  # pictures, to find that side


def write_picture(folder, number, sample, image, truth, masks, classes):
    """Write the picture of one case; of a volume the slice with most of the truth.

    Args:
        folder: Path of an existing folder.
        number: begins the name of the file.
        sample: Sample, for its name.
        image: uint8 (H, W, C), or float (D, H, W, C).
        truth, masks: 0/1 (..., M), of the truth and the prediction.
        classes: names of the M classes.

    Returns: {"case", "file": name of a WebP, "size": (width, height) of the grid, "truth",
    "prediction": {class: outlines as the path of an SVG on that grid}, without empty classes}.
    """
    image, masks, truth = select_visible_slice(image, masks, (truth == 1).astype("uint8"))
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    grid = max(1, round(height * scale)), max(1, round(width * scale))
    file = f"{number:04}_{sample.file_name}.webp"
    (folder / file).write_bytes(encode_webp(image, SIDE, QUALITY))
    return {
        **{"case": sample.name, "file": file, "size": grid[::-1]},
        "truth": trace_classes(resize_masks(truth, grid), classes),
        "prediction": trace_classes(resize_masks(masks, grid), classes),
    }


def encode_webp(image, side, quality):
    """A picture, uint8 (H, W, 1 or 3) RGB, as bytes of a WebP no longer than `side`."""
    height, width = image.shape[:2]
    scale = min(1, side / max(height, width))
    small = resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    coded = cv2.COLOR_RGB2BGR if small.shape[2] == 3 else cv2.COLOR_GRAY2BGR
    parameters = [cv2.IMWRITE_WEBP_QUALITY, quality]
    return cv2.imencode(".webp", cv2.cvtColor(small, coded), parameters)[1].tobytes()


def trace_classes(masks, classes):
    paths = {name: trace_svg(masks[..., i]) for i, name in enumerate(classes)}
    return {name: path for name, path in paths.items() if path}


def trace_svg(mask):
    """The outlines of a mask, uint8 0/1 (H, W), holes too, as the path of an SVG; "" if empty.

    A path runs through the centres of the pixels on the border; draw it with fill-rule evenodd.
    """
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for outline in outlines:
        points = cv2.approxPolyDP(outline, SIMPLER, closed=True)[:, 0]
        steps = " ".join(f"{x} {y}" for x, y in np.diff(points, axis=0))
        parts.append(f"M{points[0][0]} {points[0][1]}{'l' if steps else ''}{steps}z")
    return "".join(parts)


def embed_pictures(pictures):
    """Pictures for one page, as large as its BUDGET allows.

    Args:
        pictures: case -> picture, see `read_pictures`, the worst case first; those after
            MOST_PICTURES are left out.

    Returns: case -> {"uri": of a WebP, "size", "truth", "prediction"} as in `write_picture`.
    """
    chosen = dict(list(pictures.items())[:MOST_PICTURES])
    paths = [of["path"] for of in chosen.values()]
    trial = [read_webp(path) for path in paths[:: max(1, len(paths) // TRIED)]]
    for side in PICTURE_SIDES:
        mean = np.mean([len(encode_webp(image, side, SMALL_QUALITY)) for image in trial] or [0])
        if mean * len(paths) <= BUDGET:
            break
    return {
        case: {
            "uri": data_uri(encode_webp(read_webp(of["path"]), side, SMALL_QUALITY), "image/webp"),
            **{key: of[key] for key in ("size", "truth", "prediction")},
        }
        for case, of in chosen.items()
    }


def read_webp(path):
    """A picture that `write_picture` wrote, uint8 (H, W, 3), RGB. InputError if it is damaged."""
    content = np.frombuffer(path.read_bytes(), "uint8")
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if picture is None:
        raise InputError(f"{path}: damaged; {SCORE_AGAIN}.")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def data_uri(content, kind):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
