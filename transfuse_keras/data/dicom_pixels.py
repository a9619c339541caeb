"""The pixels of a frame of a DICOM file, decoded (pydicom)."""

import pydicom
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000TransferSyntaxes

from transfuse_keras.data.dicom_decoder import add_decoder, check_size, missing_packages
from transfuse_keras.errors import InputError, first_line

# pixels, 8192 x 8192, twice those of the largest radiographs: while they are windowed each takes
# dozens of bytes
LARGEST_FRAME = 2**26
# tags, and a length, as bytes
ITEM, END, UNDEFINED = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xff" * 4


def decode_values(path, header, frame):
    """The values of a frame: (H, W), or (H, W, 3) of RGB.

    Raises: InputError if a decoder is missing; else what pydicom raises for damaged files.
    """
    samples = header.get("SamplesPerPixel") or 1  # dcmtk, too, takes a missing one for 1
    if not (header.Rows and header.Columns):
        raise ValueError("it does not tell its numbers of rows and columns")
    if header.Rows * header.Columns > LARGEST_FRAME:
        raise ValueError(f"it claims {header.Columns}x{header.Rows} pixels")
    if samples not in (1, 3):
        raise ValueError(f"it has {samples} values a pixel")
    syntax, colour = header.file_meta.get("TransferSyntaxUID"), header.PhotometricInterpretation
    if syntax is None:
        raise ValueError("it does not say how they are encoded")
    if not syntax.is_encapsulated and header.get("HighBit", 0) >= header.get("BitsStored", 64):
        raise ValueError("its values lie in higher bits than the lowest")  # pydicom takes these
    add_decoder()
    # a deflated file has been unpacked with its header; of other plain ones only the frame is read
    source = header if syntax == DeflatedExplicitVRLittleEndian else path
    if syntax.is_encapsulated:
        encoded = read_encoded(path, header, frame)
        check_size(encoded, (header.Rows, header.Columns))
        source, frame = hold_alone(header, encoded), 0
    try:
        values = decode_frame(source, header, frame, samples_per_pixel=samples)
    except (NotImplementedError, RuntimeError) as error:
        if not syntax.is_encapsulated:
            raise
        raise InputError(f"{path}: {explain(syntax, error)}") from error
    converted = {"RGB", "YBR_FULL", "YBR_FULL_422"}
    if syntax in JPEG2000TransferSyntaxes:
        converted |= {"YBR_ICT", "YBR_RCT"}
    if samples == 3 and colour not in converted:
        raise ValueError(f"its colours are {colour}")
    return values


def read_encoded(path, header, frame):
    """The bytes of a compressed frame; of a cine no other frame is read.

    Raises: ValueError if the frames are missing or cut off.
    """
    with path.open("rb") as file:
        pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[])
        # the tag, the VR, which some files leave out, and the length
        if file.read(8)[4:] != UNDEFINED:
            file.seek(4, 1)
        start = file.tell()
        check_end(file)
        file.seek(start)
        tables = [header.get(f"ExtendedOffsetTable{x}") for x in ("", "Lengths")]
        return get_frame(
            file,
            frame,
            number_of_frames=int(header.get("NumberOfFrames") or 1),
            extended_offsets=tuple(tables) if all(tables) else None,
        )


def check_end(file):
    """Raise ValueError unless items follow in an open file up to the delimiter of their end."""
    while len(head := file.read(8)) == 8:
        if head[:4] == END:
            return
        if head[:4] != ITEM or head[4:] == UNDEFINED:
            break
        file.seek(int.from_bytes(head[4:], "little"), 1)
    raise ValueError("they are missing or cut off")


def hold_alone(header, encoded):
    """A Dataset of one compressed frame."""
    alone = pydicom.Dataset()
    alone.update(header)
    alone.file_meta, alone.NumberOfFrames = header.file_meta, 1
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        alone.pop(name, None)
    alone.PixelData = encapsulate([encoded])
    alone["PixelData"].VR = "OB"
    return alone


def decode_frame(source, header, frame, **options):
    """A frame as pydicom's `pixel_array` decodes it of `source`."""
    if header.BitsAllocated == 1 and header.Rows * header.Columns % 8:
        # pydicom 3.0 reads such a frame alone a byte too short
        values = pixel_array(source, **options).reshape(-1, header.Rows, header.Columns)
        return values[frame]
    return pixel_array(source, index=frame, **options)


def explain(syntax, error):
    """Why compressed pixels could not be decoded, and what helps."""
    try:
        get_decoder(syntax)
    except NotImplementedError:
        return f"is compressed as {syntax.name}, which is not read; unpack it with dcmdjpeg."
    if missing := missing_packages():
        return (
            f"is compressed as {syntax.name}, which needs {', '.join(missing)}; "
            "pip install 'transfuse-keras[dicom]'."
        )
    return f"its pixels cannot be decoded ({syntax.name}: {last_line(error)})."


def name_fault(error):
    if isinstance(error, AttributeError) and error.name:
        return f"it lacks {error.name}"
    return first_line(error)


def last_line(error):
    """pydicom names the decoders that failed, one a line."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else name_fault(error)
