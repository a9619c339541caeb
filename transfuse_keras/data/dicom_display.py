"""DICOM values as they are shown: pydicom's colours, lookup tables, windows and inversion."""

import numpy as np
from pydicom import Dataset
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_presentation_lut,
    apply_voi,
    apply_windowing,
)

GREYS = 2**16  # of grey between the window and the presentation LUT


def show_frame(values, header, value_range=None):
    """Decoded values of a frame as they are shown.

    Args:
        values: (H, W) or (H, W, 3) as pydicom's `pixel_array` gives them: YBR is RGB by then.
        header: Dataset, in which the attributes of the frame are those of the image.
        value_range: (low, high) that is shown of a grey image without a usable window; None is
            that of its values.

    Returns: uint8 (H, W, 1), or (H, W, 3) of a colour image.

    Raises: many kinds of exceptions for damaged attributes; ValueError for unknown colours.
    """
    colour = header.PhotometricInterpretation
    if colour == "PALETTE COLOR":
        widen_palette(header)
        shown = apply_color_lut(values, header)[..., :3]  # the fourth is transparency
        return colours_to_8_bits(shown, 8 * shown.itemsize)
    if values.ndim == 3:
        return colours_to_8_bits(values, header.BitsStored)
    if not is_grey(header):
        raise ValueError(f"its colours are {colour}")
    return show_grey(values, header, value_range)[..., None]


def is_grey(header):
    return header.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")


def widen_palette(header):
    """Make the tables of a palette little endian words of 16 bits.

    pydicom reads those of big endian files as little endian, and counts the places in a table of 8
    bits in 8 bits, too. Colours of 8 bits may also lie in the lower bytes of words.
    """
    count, _, bits = header.RedPaletteColorLookupTableDescriptor
    count = count or 2**16
    big = not header.file_meta.TransferSyntaxUID.is_little_endian
    for colour in ("Red", "Green", "Blue", "Alpha"):
        element = header.get_item(f"{colour}PaletteColorLookupTableData")
        if element is None:
            continue
        entries = read_entries(element.value, count, big)
        packed = len(element.value) <= count + 1
        if packed or (bits == 8 and entries.max() < 256):
            entries *= 257
        header[element.tag].value = entries.tobytes()


def colours_to_8_bits(values, bits):
    """Unsigned values of so many bits as uint8; as dcmtk does, the lower bits are dropped."""
    if values.dtype.kind != "u":
        raise ValueError("its colours are signed")
    if bits < 8:
        return np.round(values * (255 / (2**bits - 1))).astype("uint8")
    return (values >> (bits - 8)).astype("uint8")


def show_grey(values, header, value_range):
    """Grey values (H, W) as uint8: modality LUT, window or VOI LUT, presentation LUT."""
    values = rescale(values, header)
    if has_voi_lut(header):
        low, high = 0, 2 ** header.VOILUTSequence[0].LUTDescriptor[2] - 1
        values = apply_table(values, header)
    elif has_window(header):
        header.VOILUTFunction = header.get("VOILUTFunction") or "LINEAR"  # it may be empty
        with np.errstate(over="ignore"):
            # far out on both sides; a negative slope exchanges them
            low, high = apply_windowing(np.array([-1e30, 1e30]), header)
            values = apply_windowing(values, header)
    else:
        low, high = value_range or (values.min(), values.max())
    low, high, values = float(low), float(high), values.astype("float64")
    if not np.isfinite([low, high]).all() or not np.isfinite(values).all():
        raise ValueError("its rescaling or window leaves undefined values")
    values -= low
    values /= (high - low) or 1
    levels = np.round(np.clip(values, 0, 1, out=values) * (GREYS - 1)).astype("uint16")
    return presentation(header)[levels]


def rescale(values, header):
    """Stored values as the modality LUT, or slope and intercept, make them."""
    if not header.get("ModalityLUTSequence"):
        slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
        if slope is None or intercept is None:  # there without a value, too: dcmtk ignores both
            return values
        if slope == 0:
            raise ValueError("its rescale slope is 0")
        return apply_modality_lut(values, header)
    tables = Dataset()
    signed = bool(header.get("PixelRepresentation"))
    tables.ModalityLUTSequence = [widen_table(header.ModalityLUTSequence[0], header, signed)]
    return apply_modality_lut(values.astype("int64"), tables)


def apply_table(values, header):
    """Values through the (first) VOI LUT; none lies behind its last place, which pydicom counts in
    16 bits."""
    tables, signed = Dataset(), may_be_negative(header)
    tables.VOILUTSequence = [widen_table(header.VOILUTSequence[0], header, signed)]
    count, start, _ = tables.VOILUTSequence[0].LUTDescriptor
    last = start + (count or 2**16) - 1
    return apply_voi(np.minimum(values.astype("float64"), last).astype("int64"), tables)


def may_be_negative(header):
    """Whether stored values that are rescaled can be below 0."""
    bits, signed = header.BitsStored, bool(header.get("PixelRepresentation"))
    lowest = -(2 ** (bits - 1)) if signed else 0
    return bool((rescale(np.array([lowest, lowest + 2**bits - 1]), header) < 0).any())


def widen_table(item, header, signed):
    """A lookup table as pydicom takes it: it knows no 8 bits in half of a word and no modality LUT
    of 12 bits, and counts the places in a table of 8 bits in 8 bits, too.

    `signed` says whether the values that go in may be below 0: then the first place is a signed
    number, as what the file calls it may be wrong.
    """
    count, start, _ = item.LUTDescriptor
    values = item.LUTData
    if isinstance(values, bytes):
        big = not header.file_meta.TransferSyntaxUID.is_little_endian
        values = read_entries(values, count or 2**16, big)
    wide = Dataset()
    wide.LUTDescriptor = [count, start - 2**16 if signed and start >= 2**15 else start, 16]
    wide.add_new("LUTData", "US", [int(x) for x in values])
    return wide


def read_entries(content, count, big):
    """The entries of a lookup table, uint16, which may be bytes that lie two in a word."""
    words = np.frombuffer(content, ">u2" if big else "<u2").astype("<u2")
    if 2 * len(words) <= count + 1:  # the last may be padding
        return words.view("uint8")[:count].astype("<u2")
    return words


def has_voi_lut(header):
    items = header.get("VOILUTSequence")
    return bool(items) and "LUTDescriptor" in items[0] and "LUTData" in items[0]


def has_window(header):
    """Whether the (first) window can be used: dcmtk, too, ignores one that is too narrow."""
    center, width = (first(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center in (None, "") or width in (None, ""):
        return False
    linear = str(header.get("VOILUTFunction") or "LINEAR").upper() == "LINEAR"
    return not (width < 1 if linear else width <= 0)


def first(value):
    return (value[0] if len(value) else None) if hasattr(value, "__len__") else value


def presentation(header):
    """The grey, uint8, of each of GREYS levels. PresentationLUTShape, where it is given, decides
    on inversion, else the photometric interpretation does."""
    levels = np.arange(GREYS)
    if header.get("PresentationLUTSequence"):
        top = 2 ** header.PresentationLUTSequence[0].LUTDescriptor[2] - 1
        levels = apply_presentation_lut(levels, header) * ((GREYS - 1) / top)
    elif str(header.get("PresentationLUTShape")).strip().upper() in ("IDENTITY", "INVERSE"):
        levels = apply_presentation_lut(levels, header)
    elif header.PhotometricInterpretation == "MONOCHROME1":
        levels = GREYS - 1 - levels
    return np.round(levels * (255 / (GREYS - 1))).astype("uint8")
