"""Small files that claim much: an index of millions of samples, frames of giants. None is a fair one."""

import struct
import zlib

import ramp_videos

MILLION = 1_000_000


def box(kind, *content):
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def wide_box(kind, *content):
    """Returns a box whose size is given in 64 bits."""
    data = b"".join(content)
    return struct.pack(">I4sQ", 1, kind, 16 + len(data)) + data


def endless_box(kind, *content):
    """Returns a box that goes on to the end of what it is in."""
    return struct.pack(">I4s", 0, kind) + b"".join(content)


def table(kind, *numbers):
    return box(kind, bytes(4), struct.pack(f">{len(numbers)}I", *numbers))


def track(
    number,
    samples,
    *more,
    kind=b"vide",
    duration=512,
    size=4,
    chunks=1,
    in_chunk=None,
    inside=b"",
    make=box,
):
    """Returns a track of so many samples of `size` bytes, as JPEGs or as PCM."""
    matrix = struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    head = bytes(3) + b"\7" + struct.pack(">5I", 0, 0, number, 0, 1) + bytes(16) + matrix
    if kind == b"vide":
        sizes = struct.pack(">6xH16x2H2II", 1, 96, 64, 72 << 16, 72 << 16, 0)
        entry = box(b"jpeg", sizes, struct.pack(">H32xHh", 1, 24, -1), inside)
    else:
        entry = box(b"sowt", struct.pack(">6xH8x2HIHH", 1, 1, 16, 0, 8000, 0))
    tables = [
        table(b"stts", 1, samples, duration),
        table(b"stsc", 1, 1, samples if in_chunk is None else in_chunk, 1),
        table(b"stsz", size, samples),
        table(b"stco", chunks, *[28] * chunks),
        *more,
        box(b"stsd", struct.pack(">2I", 0, 1), entry),
    ]
    return make(
        b"trak",
        box(b"tkhd", head, struct.pack(">2I", 96 << 16, 64 << 16)),
        make(
            b"mdia",
            box(b"mdhd", struct.pack(">5I", 0, 0, 0, 12800, 512), bytes(4)),
            box(b"hdlr", bytes(8), kind, bytes(13)),
            make(b"minf", make(b"stbl", *tables)),
        ),
    )


def movie(*tracks, before=b"", after=b"", make=box):
    """Returns a MOV file with these tracks, whose samples lie in one JPEG."""
    head = box(b"mvhd", struct.pack(">5I", 0, 0, 0, 12800, 512), bytes(80))
    jpeg = box(b"mdat", ramp_videos.image(1))
    return box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + jpeg + before + make(b"moov", head, *tracks) + after


def fragment(samples, runs=1, flags=0, number=1, make=box):
    """Returns a fragment whose runs claim so many samples each, with default sizes and durations."""
    head = box(b"tfhd", struct.pack(">5I", 0x18, number, 512, 4, 0)[:16])
    run = table(b"trun", samples)[:8] + struct.pack(">2I", flags, samples)
    return make(b"moof", table(b"mfhd", 1), make(b"traf", head, *[run] * runs))


def fragmented(*fragments):
    trex = box(b"mvex", table(b"trex", 1, 1, 512, 4, 0))
    return movie(track(1, 0), trex, after=b"".join(fragments))


def compressed(data):
    """Returns a movie whose header is compressed, as QuickTime knows it."""
    start = data.index(b"moov") - 4
    packed = struct.pack(">I", len(data) - start) + zlib.compress(data[start:])
    return data[:start] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", packed)))


def with_key_frames(flv, count):
    """Returns a file of Flash that claims a list of so many key frames."""
    times = b"\0\x05times\x0a" + struct.pack(">I", count)
    data = b"\x02\0\x0aonMetaData\x08" + struct.pack(">I", 1) + b"\0\x09keyframes\x03" + times
    tag = b"\x12" + len(data).to_bytes(3, "big") + bytes(7) + data + struct.pack(">I", 11 + len(data))
    return flv[:13] + tag + flv[13:]


def _pcm(samples, **how):
    return track(2, samples, kind=b"soun", duration=1, size=2, **how)


_METADATA = box(b"hdlr", bytes(8), b"mdta", bytes(13))
# What the index of a file of few bytes can claim.
INDEXES = {
    "samples.mov": lambda: movie(track(1, 80 * MILLION)),
    "sound.mov": lambda: movie(track(1, 1), track(2, 80 * MILLION, kind=b"soun", duration=1024)),
    "sound_chunks.mov": lambda: movie(track(1, 1), _pcm(1, chunks=600, in_chunk=2**26)),
    "shown_later.mov": lambda: movie(track(1, 60 * MILLION, table(b"ctts", 1, 60 * MILLION, 512))),
    "tracks.mov": lambda: movie(*[track(n, 4 * MILLION) for n in range(1, 31)]),
    "sound_twice.mov": lambda: movie(
        track(1, 1), track(2, 80 * MILLION, table(b"stts", 1, 1, 1), kind=b"soun", duration=2)
    ),
    "wide.mov": lambda: movie(track(1, 80 * MILLION, make=wide_box), make=wide_box),
    "endless.mov": lambda: movie(track(1, 80 * MILLION, make=endless_box), make=endless_box),
    "two_movies.mov": lambda: movie(track(1, 80 * MILLION), after=movie(track(1, 1))[20:]),
    "in_entry.mov": lambda: movie(track(1, 1, in_chunk=80 * MILLION, inside=table(b"stsz", 4, 80 * MILLION))),
    "names.mov": lambda: movie(track(1, 1), box(b"meta", _METADATA, table(b"keys", 80 * MILLION))),
    "compressed.mov": lambda: compressed(movie(track(1, 80 * MILLION))),
    "run.mp4": lambda: fragmented(fragment(20 * MILLION)),
    "runs.mp4": lambda: fragmented(fragment(MILLION, runs=40)),
    "fragments.mp4": lambda: fragmented(*[fragment(MILLION)] * 40),
    "wide_fragment.mp4": lambda: fragmented(fragment(20 * MILLION, make=wide_box)),
    "endless_fragment.mp4": lambda: fragmented(fragment(20 * MILLION, make=endless_box)),
}


def _pcm_for(hours, chunk):
    """Uncompressed sound: each of its samples is in the tables, and FFmpeg's index has one entry for many."""
    samples = 48_000 * 3600 * hours
    return movie(track(1, 1), _pcm(samples, chunks=samples // chunk, in_chunk=chunk))


def _compressed_sound(hours, tracks):
    samples = 48_000 * 3600 * hours // 1024
    sound = [track(n + 2, samples, kind=b"soun", duration=1024) for n in range(tracks)]
    return movie(track(1, 1), *sound)


def _fragments(count):
    return fragmented(*[fragment(100)] * count)


# What long and fair files claim.
FAIR_INDEXES = {
    "plain sound": lambda: _pcm_for(4, 1024),
    "plain sound in large chunks": lambda: _pcm_for(4, 24_000),
    "sound of many languages": lambda: _compressed_sound(2, 12),
    "fragments": lambda: _fragments(4_000),
}
