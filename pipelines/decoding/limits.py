"""The sizes above which a video is refused, whoever reads it."""

import dataclasses

from pipelines.bad_video import Unusable


@dataclasses.dataclass(frozen=True)
class Limits:
    """The sizes above which a video is refused, so that no file takes much memory, whatever it claims.

    Attributes:
        pixels: Most pixels of a frame, as it is stored.
        frames: Most frames of a file.
        seconds: Most seconds from the first frame to the last.
        bytes: Most bytes of the frames of a clip; an image's file may take a fourth of it.
        decoder_bytes: Most bytes that a decoder may need for the frames to which others refer, and for three
            copies of one as RGB. The default is that of 4K with 10 bits; mostly no tenth of it is used. Of 8K
            it is 1.5 GB with 8 bits, and 2.3 GB with 10.
    """

    pixels: int = 30_000_000
    frames: int = 500_000
    seconds: float = 4 * 3600
    bytes: int = 400_000_000
    decoder_bytes: int = 570_000_000

    @classmethod
    def of_decoders(cls, megabytes):
        """Returns the limits where a decoder may need so much memory; frames may be larger in proportion."""
        share = megabytes * 10**6 / cls.decoder_bytes
        return cls(pixels=int(cls.pixels * max(1, share)), decoder_bytes=megabytes * 10**6)

    @property
    def samples(self):
        """Most samples that the header of an MP4 file may claim: sound has more of them than pictures."""
        return 16 * self.frames

    @property
    def boxes(self):
        """Most boxes in the header of an MP4 file; a fragment has about ten, and at least a frame."""
        return 2 * self.frames


_SMALLER = "more decoder_megabytes, or scale it down first, as with ffmpeg -vf scale=-2:1080"
_REMEDIES = {
    "pixels": _SMALLER,
    "decoder_bytes": _SMALLER,
    "bytes": "fewer frames a clip, or a smaller short side",
}


def check(limits, **sizes):
    """Raises an `Unusable` that is not final if a size is above the limit of its name."""
    for what, size in sizes.items():
        limit = getattr(limits, what)
        if not size <= limit:
            remedy = f"; try {_REMEDIES[what]}" if what in _REMEDIES else ""
            size = f"{size:,}" if isinstance(size, int) else f"{size:,.10g}"
            reason = f"{size} {what.replace('_', ' ')} are above the limit of {limit:,.10g}{remedy}"
            raise Unusable(reason, is_final=False)


def decoder_options(pixels):
    """Returns FFmpeg's options that let no decoder allocate frames of more pixels."""
    return {"max_pixels": str(pixels)}
