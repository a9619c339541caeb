"""Images that are there twice: with the same pixels, or alike as the frames of a video are."""

import hashlib
import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from transfuse_keras.data.cache import read_fitted
from transfuse_keras.errors import quantity

THUMBNAIL, COARSE, SHIFT = 64, 16, 5  # pixels a side; pixels that thumbnails may be shifted by
NEAREST = 3  # images of other splits that an image is compared with in detail
# validation and test images that are compared at most, drawn if there are more: all of them would
# take time that grows with the square of the number of images
ASKED = 5000
# Correlation of shifted thumbnails. Of 3,544 endoscopies, dermoscopies, chest radiographs and MRI
# slices no two of different patients have more than 0.85, but for copies; of resized, brightened
# or recompressed copies 19 of 20 have 0.94 and more (chest radiographs, brightened: 0.9).
ALIKE = 0.88
PAIRS_NAMED = 5


@dataclass(frozen=True)
class Fingerprint:
    """What an image is recognised by.

    Attributes:
        digest: of its pixels at training size: equal only for equal images.
        dhash: 64 bits, 16 hexadecimal digits, most of which alike images share; of a volume those
            of the mean of its slices, as another processor may round its z-scores otherwise.
        details: 256 bits, 64 digits, without slow shades: different radiographs share fewer.
        thumbnail: uint8 (64, 64), grey; None of volumes.
    """

    digest: str
    dhash: str = ""
    details: str = ""
    thumbnail: np.ndarray | None = None


def take_fingerprint(images):
    """The Fingerprint of a sample at training size: (D, H, W, C), D = 1 of an image."""
    pixels = np.ascontiguousarray(images)
    digest = hashlib.blake2b(pixels.data, digest_size=16).hexdigest()
    volume = images.dtype != np.uint8
    if volume:
        grey = images[..., 0].mean(axis=0)
    else:
        grey = cv2.cvtColor(images[0], cv2.COLOR_RGB2GRAY) if images.shape[3] == 3 else images[0]
    shrunk = cv2.resize(grey, (THUMBNAIL,) * 2, interpolation=cv2.INTER_AREA)
    details = hash_differences(highlight(shrunk.astype("float32"), 3), 16)
    return Fingerprint(digest, hash_differences(grey, 8), details, None if volume else shrunk)


def hash_differences(picture, count):
    """The difference hash of Krawetz of a picture (H, W): `count` rows of `count` bits, as
    hexadecimal digits."""
    small = cv2.resize(picture, (count + 1, count), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def take_fingerprints(samples, images=None, size=None, field=None):
    """Name -> Fingerprint of samples; `images` are theirs as `read_resized` gives them, else they
    are read, in parallel: raises the InputError of the first bad one."""
    if images is not None:
        ends = np.cumsum([0, *(sample.slices or 1 for sample in samples)])
        found = [take_fingerprint(images[i:j]) for i, j in itertools.pairwise(ends)]
    else:
        with ThreadPoolExecutor() as pool:
            read = pool.map(lambda x: take_fingerprint(read_fitted(x, size, field)[0]), samples)
            found = list(read)
    return {sample.name: one for sample, one in zip(samples, found, strict=True)}


def share_bits(first, second):
    """The share of equal bits of two difference hashes; 0 where one is not known."""
    if not first or not second:
        return 0.0
    return 1 - (int(first, 16) ^ int(second, 16)).bit_count() / (4 * len(first))


def find_copies(splits, prints):
    """Images with the same pixels: (errors on those in two splits, warnings on others)."""
    seen, errors, warnings = {}, [], []
    for part, sample in each_once(splits, prints):
        first, first_part = seen.setdefault(prints[sample.name].digest, (sample, part))
        if first is sample:
            continue
        file, other = name_file(sample), name_file(first)
        if first_part != part:
            errors.append(
                f"{file}: is the same image as {other}, but one is in the {part} split and "
                f"the other in {first_part}; remove one."
            )
        else:
            warnings.append(f"{file}: is the same image as {other}.")
    return errors, warnings


def find_lookalikes(splits, prints):
    """Pairs of images in two splits that look alike, as frames of a video or resized copies do.

    Each image outside the training split is compared with those of the other splits that are
    nearest to it, or so many of them as ASKED allows.

    Args:
        splits: part -> list of Sample.
        prints: sample name -> Fingerprint; samples without a thumbnail are left out.

    Returns: list of (similarity, (part, Sample), (part, Sample)), the most alike first, and
        (images that were compared, images that could have been).
    """
    known = [x for x in each_once(splits, prints) if prints[x[1].name].thumbnail is not None]
    thumbnails = [prints[sample.name].thumbnail for _, sample in known]
    names, parts = np.unique([part for part, _ in known], return_inverse=True)
    held_back = [i for i, (part, _) in enumerate(known) if part != "train"]
    if len(names) < 2:
        return [], (0, len(held_back))
    asked = sorted(random.Random(0).sample(held_back, min(len(held_back), ASKED)))
    vectors = np.stack([coarse_vector(thumbnail) for thumbnail in thumbnails])
    pairs = set()
    for block in np.array_split(asked, -(-len(asked) // 256)):
        distances = -vectors[block] @ vectors.T
        distances[parts[block, None] == parts] = np.inf
        nearest = np.argpartition(distances, min(NEAREST, len(known)) - 1, axis=1)[:, :NEAREST]
        for i, row in zip(block, nearest, strict=True):
            pairs |= {(min(i, j), max(i, j)) for j in row if parts[i] != parts[j]}
    found = [
        (correlate_pictures(thumbnails[i], thumbnails[j]), known[i], known[j])
        for i, j in sorted(pairs)
    ]
    alike = sorted((x for x in found if x[0] >= ALIKE), key=lambda x: -x[0])
    return alike, (len(asked), len(held_back))


def warn_of_lookalikes(splits, prints):
    """The pairs of `find_lookalikes` as at most one sentence, in a list."""
    pairs, (asked, held_back) = find_lookalikes(splits, prints)
    if not pairs:
        return []
    shown = [f"{name_file(a)} ({x}) and {name_file(b)} ({y})" for _, (x, a), (y, b) in pairs]
    more = f"; and {len(pairs) - PAIRS_NAMED} more" if len(pairs) > PAIRS_NAMED else ""
    named = "; ".join(shown[:PAIRS_NAMED]) + more
    part = f" ({asked} of {held_back} validation and test images were compared)"
    return [
        "Images in different splits look alike, as frames of a video or resized copies do; scores "
        f"may be optimistic: {quantity(len(pairs), 'pair')}{part * (asked < held_back)}, {named}."
    ]


def coarse_vector(thumbnail):
    """A thumbnail's rough structure, brightness and slow shades taken out, as a unit vector."""
    small = cv2.resize(thumbnail.astype("float32"), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    vector = highlight(small, 2).ravel()
    vector -= vector.mean()
    return vector / (np.linalg.norm(vector) + 1e-6)


def highlight(picture, sigma):
    """A float32 picture without what is coarser than a Gaussian of `sigma` pixels."""
    return picture - cv2.GaussianBlur(picture, (0, 0), sigma)


def correlate_pictures(first, second):
    """The largest correlation of two thumbnails, one of which may be shifted a little."""
    first, second = (highlight(picture.astype("float32"), 3) for picture in (first, second))
    inner = first[SHIFT:-SHIFT, SHIFT:-SHIFT]
    if inner.std() < 1e-3 or second.std() < 1e-3:
        return 0.0  # nothing to be seen
    return float(cv2.matchTemplate(second, inner, cv2.TM_CCOEFF_NORMED).max())


def each_once(splits, prints):
    """(part, Sample) of all that have a fingerprint; what is in two splits counts in the first: a
    validation set that is scored too is no copy."""
    done = set()
    for part, samples in splits.items():
        for sample in samples:
            if sample.name in prints and sample.name not in done:
                done.add(sample.name)
                yield part, sample


def name_file(sample):
    return sample.files[0] if sample.files else sample.name
