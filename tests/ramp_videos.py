"""Video files whose every pixel tells its position, and whose every frame its number, after lossy coding.

Red rises from left to right, blue from top to bottom. The top quarter is eight grey blocks, dark for 0
and bright for 1: the bits of the frame's number, the lowest on the left.
"""

import struct
from fractions import Fraction

import av
import numpy as np

DARK, BRIGHT = 30, 225  # Levels of the bits.
LOW, HIGH = 20, 230  # Ends of the ramps.


def frame(number, height=64, width=96):
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[..., 0] = np.linspace(LOW, HIGH, width)
    picture[..., 2] = np.linspace(LOW, HIGH, height)[:, None]
    for bit in range(8):
        block = slice(bit * width // 8, (bit + 1) * width // 8)
        picture[: height // 4, block] = BRIGHT if number >> bit & 1 else DARK
    return picture


def numbers(frames):
    """Reads the frame numbers back."""
    _, height, width, _ = frames.shape
    read = []
    for picture in frames:
        centres = [picture[height // 8, (2 * bit + 1) * width // 16] for bit in range(8)]
        read.append(sum(int(grey.mean() > 128) << bit for bit, grey in enumerate(centres)))
    return read


def position_error(frames):
    """Returns by how much, as a fraction of a side, any pixel below the bits is out of place."""
    _, height, width, _ = frames.shape
    below = slice(height // 4 + 8, None)
    x = (frames[:, below, :, 0].astype(float) - LOW) / (HIGH - LOW)
    y = (frames[:, below, :, 2].astype(float) - LOW) / (HIGH - LOW)
    true_x, true_y = np.linspace(0, 1, width), np.linspace(0, 1, height)[below, None]
    return max(np.abs(x - true_x).max(), np.abs(y - true_y).max())


def write(
    path,
    num_frames=40,
    height=64,
    width=96,
    codec="libx264",
    options=None,
    pixels="yuv420p",
    times=None,
    audio=False,
    container_format=None,
    container_options=None,
    metadata=None,
):
    """Writes a ramp video; `times` are the frames' time stamps in units of 1/25 s."""
    options = {"crf": "12"} | (options or {})
    with av.open(
        str(path), "w", format=container_format, container_options=container_options or {}
    ) as container:
        container.metadata.update(metadata or {})
        video = container.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt, video.thread_count = width, height, pixels, 1
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        container.start_encoding()
        for number in range(num_frames):
            picture = av.VideoFrame.from_ndarray(frame(number, height, width), format="rgb24")
            if times is not None:
                picture.pts = times[number]
            container.mux(video.encode(picture))
            if audio:
                container.mux(sound.encode(_noise(number)))
        container.mux(video.encode())
        if audio:
            container.mux(sound.encode())
    return str(path)


def write_audio_only(path, cover=None):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 96, 64, "yuvj444p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.start_encoding()
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = picture, 0, 0, True
            container.mux(packet)
        for number in range(10):
            container.mux(sound.encode(_noise(number)))
        container.mux(sound.encode())
    return str(path)


def copy_packets(source, target, change):
    """Copies a video without coding it anew; `change` makes a list of packets of each (number, packet)."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            for copy in change(number, packet) if packet.size else []:
                copy.stream = stream
                new.mux(copy)
    return str(target)


def packet_like(packet, data, delay=0):
    copy = av.Packet(data)
    copy.pts, copy.dts, copy.time_base = packet.pts + delay, packet.dts + delay, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy


def write_with_repeated_picture(directory):
    """MPEG-4 encoders store a "not coded" picture for a dropped frame; the decoder returns none for it."""

    def add_not_coded(number, packet):
        not_coded = packet_like(packet, b"\0\0\1\xb6\x50\x47", delay=7)
        not_coded.is_keyframe = False
        return [packet, not_coded] if number == 15 else [packet]

    whole = write(directory / "whole.mkv", codec="mpeg4", options={"bf": "0", "b": "4000000"})
    return copy_packets(whole, directory / "padded.mkv", add_not_coded)


def image(number, height=64, width=96, codec="mjpeg", pixels="yuvj444p", orientation=None, byte_order="<"):
    """Returns the bytes of a JPEG, or of another kind; `orientation` is the number that EXIF gives it."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixels
    encoder.time_base, encoder.options = Fraction(1, 25), {"q": "2"}
    picture = av.VideoFrame.from_ndarray(frame(number, height, width), format="rgb24")
    packets = encoder.encode(picture.reformat(format=pixels)) + encoder.encode()
    data = b"".join(bytes(packet) for packet in packets)
    if orientation is None:
        return data
    entry = struct.pack(f"{byte_order}HHIHH", 0x112, 3, 1, orientation, 0)
    mark = {"<": b"II", ">": b"MM"}[byte_order]
    exif = b"Exif\0\0" + struct.pack(f"{byte_order}2sHIH", mark, 42, 8, 1) + entry + bytes(4)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def write_folder(path, num_frames, name="{:05d}.jpg", **how):
    """Writes the frames as JPEGs, the first one as 00001.jpg, as Something-Something V1 does."""
    path.mkdir()
    for number in range(num_frames):
        (path / name.format(number + 1)).write_bytes(image(number, **how))
    return str(path)


def _noise(number, samples=320):
    noise = np.random.default_rng(number).uniform(-0.5, 0.5, (1, samples)).astype("float32")
    sound = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
    sound.rate, sound.pts = 8000, number * samples
    return sound
