"""Clips per second that one core decodes from a 10 s H.264 video of 340x256 at 30 frames a second.

python benchmarks/decoding.py [--repeats=5]

Two ways to take 8 frames, spread over the whole video or over a window of 64 frames at a random place, in
videos with a key frame every 12 s (that is, only the first frame, as x264 likes it) and every second.
"""

import argparse
import os
import statistics
import tempfile
import time

import av
import numpy as np

from pipelines.clips import clip_generator, dense_training_clip, segment_training_clip
from pipelines.decode import decode_frames

FPS, SECONDS, WIDTH, HEIGHT, CLIPS = 30, 10, 340, 256, 10


def write_video(path, key_every_frames):
    """Writes a textured scene that moves, so that the encoder has something to do."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    generator = np.random.default_rng(0)
    grain = generator.integers(-12, 13, (2 * HEIGHT, 2 * WIDTH, 1))
    with av.open(path, "w") as container:
        options = {"g": str(key_every_frames), "sc_threshold": "0", "crf": "23"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FPS * SECONDS):
            waves = [np.sin((columns * (k + 1) + rows * (3 - k) + 4 * number) / 23) for k in range(3)]
            moved = grain[number % HEIGHT : number % HEIGHT + HEIGHT, number % WIDTH : number % WIDTH + WIDTH]
            picture = np.clip(128 + 80 * np.stack(waves, -1) + moved, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def main():
    """Times rounds of clips, the four cases in turns, and prints the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    ways = {"8 of the whole video": segment_training_clip, "8 of a 64-frame window": dense_training_clip}
    rates = {}
    with tempfile.TemporaryDirectory() as directory:
        paths = {seconds: os.path.join(directory, f"{seconds}.mp4") for seconds in (12, 1)}
        for seconds, path in paths.items():
            write_video(path, seconds * FPS)
        for repeat in range(repeats):
            for what, choose in ways.items():
                for seconds, path in paths.items():
                    start = time.perf_counter()
                    for clip in range(CLIPS):
                        generator = clip_generator(0, repeat, clip)
                        decode_frames(path, lambda n, c=choose, g=generator: c(n, 8, g))
                    rate = CLIPS / (time.perf_counter() - start)
                    rates.setdefault((what, seconds), []).append(rate)
    print(f"{'clips/s, one core':<24}{'key frame every 12 s':>22}{'every 1 s':>12}")
    for what in ways:
        far, near = (statistics.median(rates[what, seconds]) for seconds in (12, 1))
        print(f"{what:<24}{far:>22.1f}{near:>12.1f}")


if __name__ == "__main__":
    main()
