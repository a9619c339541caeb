"""Damage to bytes: every function takes a numpy Generator and bytes, and gives other bytes."""

import gzip
import io
import json
import struct
import zipfile
import zlib

EXTREMES = (0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
VALUES = (None, True, -1, 0, 2**31, 2**70, 1e308, float("nan"), "", "x" * 1000, "é\n", [], {}, [[]])
HEADER = 1024  # bytes at both ends of a file that most of the damage is done to


def mutate(rng, content, others):
    """Damage `content` one to three times, or put one of `others` in its place."""
    if not content or rng.random() < 0.03:
        return (b"", *others)[rng.integers(len(others) + 1)]
    for _ in range(rng.integers(1, 4)):
        if content:
            content = DAMAGES[rng.integers(len(DAMAGES))](rng, content, others)
    return content


def place(rng, content):
    """An offset, mostly near an end: that is where headers are."""
    length = len(content)
    end = rng.integers(3)
    if end == 2 or length <= HEADER:
        return int(rng.integers(length))
    offset = int(rng.integers(HEADER))
    return offset if end else length - 1 - offset


def flip(rng, content, others):
    damaged = bytearray(content)
    for _ in range(2 ** rng.integers(5)):
        damaged[place(rng, content)] ^= 1 << rng.integers(8)
    return bytes(damaged)


def truncate(rng, content, others):
    return content[: place(rng, content)]


def block(rng, content):
    start = place(rng, content)
    return start, start + 2 ** int(rng.integers(12))


def delete(rng, content, others):
    start, end = block(rng, content)
    return content[:start] + content[end:]


def duplicate(rng, content, others):
    start, end = block(rng, content)
    return content[:end] + content[start:end] * int(rng.integers(1, 4)) + content[end:]


def overwrite(rng, content, others):
    """Zeros, ones or noise in place of a block."""
    start, end = block(rng, content)
    length = len(content[start:end])
    filling = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return content[:start] + filling + content[start + length :]


def extreme(rng, content, others):
    """An integer of a header as the largest or smallest of its kind, in either byte order."""
    width = (1, 2, 4, 8)[rng.integers(4)]
    value = EXTREMES[rng.integers(len(EXTREMES))] % 256**width
    start = place(rng, content)
    number = value.to_bytes(width, ("little", "big")[rng.integers(2)])
    return (content[:start] + number + content[start + width :])[: len(content)]


def splice(rng, content, others):
    """The beginning of one file and the end of another."""
    other = others[rng.integers(len(others))] if others else content
    return content[: place(rng, content)] + other[place(rng, other) if other else 0 :]


DAMAGES = (flip, flip, truncate, delete, duplicate, overwrite, extreme, extreme, splice)


def mutate_json(rng, content, others):
    """Another value, or none, somewhere in a JSON document; else damage to its bytes."""
    if rng.random() < 0.3:
        return mutate(rng, content, others)
    tree = json.loads(content)
    spots = list(spots_of(tree))
    for _ in range(min(len(spots), int(rng.integers(1, 4)))):
        parent, key = spots[rng.integers(len(spots))]
        if isinstance(parent, dict) and rng.random() < 0.2:
            parent.pop(key, None)
        else:
            parent[key] = VALUES[rng.integers(len(VALUES))]
    return json.dumps(tree).encode()


def spots_of(tree):
    """All (container, key) of a JSON tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from spots_of(value)


def mutate_inside(rng, content, others):
    """Damage beneath the checksum of a zip, gzip or PNG file, so that the parser behind it is
    reached; of anything else to the file."""
    if rng.random() < 0.3:
        return mutate(rng, content, others)
    if content.startswith(b"PK"):
        return mutate_member(rng, content)
    if content.startswith(b"\x1f\x8b"):
        return gzip.compress(mutate(rng, gzip.decompress(content), ()), 1)
    if content.startswith(b"\x89PNG"):
        return with_checksums(mutate(rng, content, others))
    return mutate(rng, content, others)


def mutate_member(rng, content):
    """One member of a zip archive damaged, with the checksum of what is there now."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = sorted(members)[rng.integers(len(members))]
    change = mutate_json if chosen.endswith(".json") else mutate
    members[chosen] = change(rng, members[chosen], ())
    return zip_of(members)


def zip_of(members, compression=zipfile.ZIP_STORED):
    """A zip archive of name -> content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def with_checksums(content):
    """A PNG file whose chunks have the checksums they need, as far as there are chunks."""
    found, start = [content[:8]], 8
    while start + 12 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        body = content[start + 4 : start + 8 + length]
        found.append(content[start : start + 4] + body + struct.pack(">I", zlib.crc32(body)))
        start += 12 + length
    return b"".join(found)
