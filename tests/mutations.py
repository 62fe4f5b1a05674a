"""Videos with seeded damage: each of them has to give frames or a reason, and nothing else may happen."""

import functools
import struct
import tempfile
from pathlib import Path

import numpy as np
import ramp_videos

# The videos that are damaged, as arguments of ramp_videos.write.
_BASES = {
    "b_frames": {"num_frames": 24, "options": {"g": "8", "bf": "2"}},
    "fragments": {"num_frames": 16, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "index_first": {"num_frames": 12, "container_options": {"movflags": "faststart"}, "options": {"g": "4"}},
    "mpeg4": {"num_frames": 12, "codec": "mpeg4", "options": {"bf": "2", "b": "400000"}},
    "sound": {"num_frames": 12, "audio": True},
    "vp9": {"num_frames": 12, "codec": "libvpx-vp9", "options": {"b": "400000", "deadline": "realtime"}},
}
_FORGED = (0, 1, 0x7F, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated_videos(count, seed):
    """Yields `count` pairs (name, bytes); the name begins with the seed and the number of the mutation."""
    videos = list(_write_bases().items())
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        name, data = videos[generator.integers(len(videos))]
        _, other = videos[generator.integers(len(videos))]
        mutate = _MUTATIONS[number % len(_MUTATIONS)]
        yield f"{seed}-{number}-{mutate.__name__}-{name}", bytes(mutate(bytearray(data), other, generator))


@functools.cache
def _write_bases():
    # The encoder does not always write the same bytes.
    with tempfile.TemporaryDirectory() as directory:
        return {
            name: Path(ramp_videos.write(Path(directory) / "v.mp4", height=48, width=64, **how)).read_bytes()
            for name, how in _BASES.items()
        }


def flip_bits(data, other, generator):
    for place in generator.integers(len(data), size=generator.integers(1, 30)):
        data[place] ^= 1 << int(generator.integers(8))
    return data


def truncate(data, other, generator):
    return data[: generator.integers(len(data))]


def zero_range(data, other, generator):
    start, length = generator.integers(len(data)), generator.integers(1, 400)
    data[start : start + length] = bytes(len(data[start : start + length]))
    return data


def cut_range(data, other, generator):
    start = generator.integers(len(data))
    del data[start : start + generator.integers(1, 400)]
    return data


def splice(data, other, generator):
    """Returns the beginning of one file and the rest of another."""
    return data[: generator.integers(len(data))] + other[generator.integers(len(other)) :]


def swap_box(data, other, generator):
    """Puts a box of another file, or only its content, in the place of the box of the same kind."""
    kinds = sorted(set(_boxes(data)) & set(_boxes(other)))
    kind = kinds[generator.integers(len(kinds))]
    (start, size), (other_start, other_size) = _boxes(data)[kind], _boxes(other)[kind]
    header = 8 * int(generator.integers(2))
    data[start + header : start + size] = other[other_start + header : other_start + other_size]
    return data


def forge_number(data, other, generator):
    """Overwrites up to three 32-bit fields of boxes: counts, sizes, times, widths."""
    boxes = sorted(_boxes(data).values())
    for _ in range(generator.integers(1, 4)):
        start, size = boxes[generator.integers(len(boxes))]
        place = start + 4 * int(generator.integers(min(size, 400) // 4))
        value = _FORGED[generator.integers(len(_FORGED))]
        data[place : place + 4] = struct.pack(">I", value)
    return data


_MUTATIONS = (flip_bits, truncate, zero_range, cut_range, splice, swap_box, forge_number)


def _boxes(data):
    """Returns {kind: (start, size)} of the boxes of an MP4 file, those that hold boxes included."""
    found, parts = {}, [(0, len(data))]
    while parts:
        start, end = parts.pop()
        while start + 8 <= end:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            size = min(max(size, 8), end - start)
            found[kind] = (start, size)
            if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex"):
                parts.append((start + 8, start + size))
            elif kind == b"stsd":
                parts.append((start + 16, start + size))
            elif kind in (b"avc1", b"mp4v", b"vp09"):
                parts.append((start + 86, start + size))
            start += size
    return found
