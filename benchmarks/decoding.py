"""Clips per second from a 10 s H.264 video of 340x256 at 30 frames a second, beside PyAV itself and decord.

python benchmarks/decoding.py [--rounds=9]

A clip has 8 frames, spread over the whole video or over a window of 64 frames at a random place. The videos
have a key frame every 12 s (that is, only the first frame, as x264 likes it) or every second. They are read
on one core, and by two threads on two. "PyAV" is the least that it takes to decode the same frames exactly
when the times of all frames and key frames are known beforehand: seek to the key frame, decode up to the
wanted one. decord is 0.6.0 where it is installed. All take turns; ratios are medians over the rounds.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np

from pipelines.decoding.decode import decode_frames
from pipelines.decoding.isolation import IsolatedDecoder

try:
    import decord
except ImportError:
    decord = None

FPS, SECONDS, WIDTH, HEIGHT, CLIP_FRAMES, CLIPS = 30, 10, 340, 256, 8, 4


def write_video(path, key_every_frames):
    """Writes a textured scene that moves, so that the encoder has something to do."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    generator = np.random.default_rng(0)
    grain = generator.integers(-12, 13, (2 * HEIGHT, 2 * WIDTH, 1))
    with av.open(path, "w") as container:
        options = {"g": str(key_every_frames), "sc_threshold": "0", "crf": "23"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in range(FPS * SECONDS):
            waves = [np.sin((columns * (k + 1) + rows * (3 - k) + 4 * frame) / 23) for k in range(3)]
            moved = grain[frame % HEIGHT : frame % HEIGHT + HEIGHT, frame % WIDTH : frame % WIDTH + WIDTH]
            picture = np.clip(128 + 80 * np.stack(waves, -1) + moved, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def whole(generator):
    """Returns the index of a random frame in each of 8 equal parts of the video."""
    length = FPS * SECONDS // CLIP_FRAMES
    return np.arange(CLIP_FRAMES) * length + generator.integers(length, size=CLIP_FRAMES)


def window(generator):
    """Returns the indices of every eighth frame of a window of 64 at a random place."""
    return generator.integers(FPS * SECONDS - 63) + np.arange(CLIP_FRAMES) * 8


WAYS = {"8 of the whole video": whole, "8 of a 64-frame window": window}


def decode_with_pyav(path, indices, key_every_frames):
    """Returns the frames, without a check of what other files than this benchmark's could hold."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        ticks = round(1 / (stream.average_rate * stream.time_base))
        pictures, position = [], None
        for index in indices.tolist():
            key = index // key_every_frames * key_every_frames
            if position is None or key > position + 8:
                container.seek(stream.start_time + key * ticks, stream=stream)
                frames, position = container.decode(stream), key
            while position <= index:
                frame, position = next(frames), position + 1
            pictures.append(frame.to_ndarray(format="rgb24"))
        return np.stack(pictures)


def decode_with_decord(path, indices, key_every_frames):
    """Returns the frames as decord decodes them with one thread."""
    return decord.VideoReader(path, num_threads=1).get_batch(indices.tolist()).asnumpy()


def clips_per_second(decode, choices, threads):
    """Returns the clips per second at which `threads` threads decode the frames of each choice."""
    start = time.perf_counter()
    if threads == 1:
        for indices in choices:
            decode(indices)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(decode, choices))
    return len(choices) / (time.perf_counter() - start)


def measure(rounds, threads, isolated):
    """Returns {(way, seconds between key frames): {decoder: rate of each round}}."""
    rates = {}
    with tempfile.TemporaryDirectory() as directory:
        for seconds in (12, 1):
            path = os.path.join(directory, f"{seconds}.mp4")
            write_video(path, seconds * FPS)
            others = {"PyAV": decode_with_pyav} | ({"decord": decode_with_decord} if decord else {})
            decoders = {"ours": functools.partial(decode_frames, path)}
            decoders["isolated"] = functools.partial(isolated, path)
            for name, decode in others.items():
                decoders[name] = functools.partial(decode, path, key_every_frames=seconds * FPS)
            for what, choose in WAYS.items():
                for turn in range(rounds + 1):
                    choices = [choose(np.random.default_rng([turn, clip])) for clip in range(CLIPS * threads)]
                    for name, decode in decoders.items():
                        rate = clips_per_second(decode, choices, threads)
                        if turn:  # the first round warms up
                            rates.setdefault((what, seconds), {}).setdefault(name, []).append(rate)
    return rates


def print_table(rates, title):
    """Prints a line for each case: clips per second of each decoder, and the ratios between them."""
    names = list(next(iter(rates.values())))
    others = [name for name in names if name not in ("ours", "isolated")]
    ratios = [(f"ours/{name}", "ours", name) for name in others] + [("isol./ours", "isolated", "ours")]
    print(f"{title:<24}{'key frame':>10}" + "".join(f"{name:>10}" for name in names), end="")
    print("".join(f"{label:>13}" for label, *_ in ratios))
    for (what, seconds), rate in rates.items():
        line = f"{what:<24}{f'every {seconds} s':>10}"
        line += "".join(f"{statistics.median(rate[name]):>10.1f}" for name in names)
        for _, one, other in ratios:
            line += f"{statistics.median(a / b for a, b in zip(rate[one], rate[other], strict=True)):>13.2f}"
        print(line)


def main():
    """Measures the decoders on one core and on two, and prints both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    single = {}
    for threads in (1,) if len(cores) == 1 else (1, 2):
        if cores:
            os.sched_setaffinity(0, cores[:threads])
        with IsolatedDecoder(workers=threads) as isolated:
            rates = measure(rounds, threads, isolated)
        print_table(rates, f"clips/s, {threads} thread{'s' * (threads > 1)}")
        for case, rate in rates.items():
            single.setdefault(case, []).append(statistics.median(rate["ours"]))
    if len(cores) != 1:
        print("ours, 2 threads / 1:", ", ".join(f"{two / one:.2f}" for one, two in single.values()))


if __name__ == "__main__":
    main()
