"""Data sets of real H.264 files with known answers: the motion of a textured shape is the class.

`python -m pipelines.synthetic --output=DIR` writes one in Kinetics' layout:

    DIR/train.csv, DIR/val.csv                  label,youtube_id,time_start,time_end,split
    DIR/<split>/<label>/<id>_<start>_<end>.mp4

The eight classes come in four pairs, and each motion is its partner played backwards, frame for
frame. So neither a single frame nor an unordered set of frames tells the class: a model has to see time.
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import multiprocessing
import os
import sys
import zlib

import av
import numpy as np

from pipelines.whole_files import whole_file

# Label -> (motion, direction of time). A motion and its partner are the same scene with time reversed.
MOTIONS = {
    "moving left": ("horizontal", -1),
    "moving right": ("horizontal", 1),
    "moving up": ("vertical", -1),
    "moving down": ("vertical", 1),
    "turning clockwise": ("rotation", 1),
    "turning anticlockwise": ("rotation", -1),
    "growing": ("size", 1),
    "shrinking": ("size", -1),
}

# Convex parts as vertices in units of the shape's radius, x to the right and y down, clockwise on the
# screen. None of the shapes looks the same after any rotation of less than a full turn.
SHAPES = {
    "arrow": (
        ((1.0, 0.0), (0.1, 0.7), (0.1, -0.7)),
        ((0.2, -0.25), (0.2, 0.25), (-0.95, 0.25), (-0.95, -0.25)),
    ),
    "hook": (
        ((-0.4, -0.9), (0.0, -0.9), (0.0, 0.9), (-0.4, 0.9)),
        ((-0.4, 0.5), (-0.4, 0.1), (0.8, 0.5), (0.8, 0.9)),
    ),
    "flag": (
        ((-0.5, -0.95), (-0.2, -0.95), (-0.2, 0.95), (-0.5, 0.95)),
        ((-0.3, -0.95), (0.8, -0.45), (-0.3, 0.05)),
    ),
    "wedge": (((1.0, 0.0), (-0.8, 0.55), (-0.8, -0.55)),),
}


@dataclasses.dataclass(frozen=True)
class Level:
    """How hard the scenes are.

    Attributes:
        background_contrast: Amplitude of the background's texture, in grey levels of 0-255.
        background_mean: Range of the background's mean, in grey levels.
        shape_contrast: Amplitude of the shape's texture, in grey levels.
        shape_mean: Range of the shape's mean, in grey levels.
        background_speed: Largest distance by which the background drifts over the whole video, as a
            fraction of the short side.
    """

    background_contrast: float
    background_mean: tuple
    shape_contrast: float
    shape_mean: tuple
    background_speed: float


LEVELS = {
    "easy": Level(25, (50, 100), 30, (190, 220), 0.0),
    "hard": Level(110, (110, 145), 110, (110, 145), 0.6),
}


class Texture:
    """A sum of random plane waves: a function of the plane to RGB, different for every generator state.

    Args:
        generator: NumPy generator that draws the wave vectors, phases and colours.
        mean: Range from which each channel's mean grey level is drawn.
        contrast: Amplitude of each channel around its mean, in grey levels.
        waves: Count of plane waves.
    """

    def __init__(self, generator, mean, contrast, waves=4):
        angle, cycles = generator.uniform(0, 2 * np.pi, waves), generator.uniform(0.7, 4.0, waves)
        self.wave_vectors = 2 * np.pi * cycles * np.stack([np.cos(angle), np.sin(angle)])  # [2, waves]
        self.phases = generator.uniform(0, 2 * np.pi, waves)
        colours = generator.normal(size=(waves, 3))
        self.colours = contrast * colours / np.abs(colours).sum(axis=0)  # [waves, 3]
        self.mean = generator.uniform(*mean, size=3)

    def __call__(self, x, y):
        """Returns float32 RGB [..., 3] at the points x, y, arrays of one shape."""
        phase = x[..., None] * self.wave_vectors[0] + y[..., None] * self.wave_vectors[1] + self.phases
        return (np.cos(phase).astype(np.float32) @ self.colours.astype(np.float32) + self.mean).astype(
            np.float32
        )


def scene(label, seed, level="easy"):
    """Renders one video.

    Args:
        label: One of `MOTIONS`.
        seed: Sequence of integers. Seed and `level` fix everything but the class, so the two labels of a
            pair give each other's frames in reverse order.
        level: One of `LEVELS`.

    Returns:
        (frames, fps): uint8 [T, H, W, 3] with 24 to 48 frames of 72 to 128 pixels a side, and the
        frame rate, 12 to 30 a second.
    """
    motion, direction = MOTIONS[label]
    difficulty = LEVELS[level]
    generator = np.random.default_rng([zlib.crc32(motion.encode()), *seed])
    height, width = generator.choice([72, 80, 88, 96]), generator.choice([96, 104, 112, 128])
    num_frames, fps = int(generator.integers(24, 49)), int(generator.choice([12, 15, 24, 25, 30]))
    background = Texture(generator, difficulty.background_mean, difficulty.background_contrast)
    surface = Texture(generator, difficulty.shape_mean, difficulty.shape_contrast)
    parts = SHAPES[str(generator.choice(list(SHAPES)))]
    radius, angle = generator.uniform(0.2, 0.32) * height, generator.uniform(0, 2 * np.pi)
    reach = {
        "horizontal": generator.uniform(0.2, 0.3) * height,
        "vertical": generator.uniform(0.15, 0.25) * height,
    }
    turn, growth = generator.uniform(np.pi / 3, 2 * np.pi / 3), generator.uniform(1.4, 1.8)
    drift = generator.uniform(-difficulty.background_speed, difficulty.background_speed, 2) * height / 2
    # The middle of the path is near the centre of the picture, where every crop shows it.
    centre = np.array([width, height]) / 2 + generator.uniform(-0.12, 0.12, 2) * height

    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    still = background(columns / height, rows / height) if not drift.any() else None
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    # Times go from -1 to 1 and are the same backwards to the last bit, which np.linspace does not promise.
    times = np.arange(1 - num_frames, num_frames, 2) / (num_frames - 1)
    for index, time in enumerate(direction * times):
        if still is None:
            picture = background((columns + drift[0] * time) / height, (rows + drift[1] * time) / height)
        else:
            picture = still.copy()
        offset = (motion == "horizontal") * reach["horizontal"], (motion == "vertical") * reach["vertical"]
        _paint(
            picture,
            parts,
            surface,
            centre + np.multiply(offset, time),
            radius * (growth**time if motion == "size" else 1.0),
            angle + (turn * time if motion == "rotation" else 0.0),
        )
        frames[index] = np.clip(np.round(picture), 0, 255)
    return frames, fps


def _paint(picture, parts, surface, centre, radius, angle):
    """Draws a shape into `picture` [H, W, 3]; its texture moves, turns and grows with it."""
    height, width = picture.shape[:2]
    low = np.maximum(np.floor(centre - radius - 1), 0).astype(int)
    high = np.minimum(np.ceil(centre + radius + 2), [width, height]).astype(int)
    if (low >= high).any():
        return
    rows, columns = np.mgrid[low[1] : high[1], low[0] : high[0]]
    x, y = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    distance = np.min([_convex_distance(np.array(part), u, v) for part in parts], axis=0) * radius
    cover = np.clip(0.5 - distance, 0, 1)[..., None].astype(np.float32)  # The edge is one pixel soft.
    window = picture[low[1] : high[1], low[0] : high[0]]
    window += cover * (surface(u / 2, v / 2) - window)


def _convex_distance(vertices, u, v):
    """Returns the largest signed distance of (u, v) from the edges: negative inside, positive outside."""
    edges = np.roll(vertices, -1, axis=0) - vertices
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    if np.sum(normals * (vertices.mean(axis=0) - vertices)) > 0:
        normals = -normals
    offsets = np.sum(normals * vertices, axis=1)
    return np.max([n[0] * u + n[1] * v - d for n, d in zip(normals, offsets, strict=True)], axis=0)


def write_video(path, frames, fps):
    """Writes uint8 frames [T, H, W, 3] (even H and W) as an H.264 file, whole or not at all."""
    with whole_file(path) as partial, av.open(partial, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def write_dataset(output, train=1600, val=240, level="easy", seed=0, workers=None):
    """Writes a whole data set in Kinetics' layout; the classes occur equally often.

    Args:
        output: Directory, made if it is missing; files there are replaced.
        train: Count of training videos.
        val: Count of validation videos. None of their textures occurs in training.
        level: One of `LEVELS`.
        seed: Integer >= 0 that fixes every pixel.
        workers: Count of processes; None takes one per core.
    """
    rows = {split: _rows(split, count) for split, count in (("train", train), ("val", val))}
    for split, label in {(row["split"], row["label"]) for row in rows["train"] + rows["val"]}:
        os.makedirs(os.path.join(output, split, label), exist_ok=True)
    jobs = [
        (
            os.path.join(output, split, _relative_path(row)),
            row["label"],
            (seed, split == "val", number),
            level,
        )
        for split in rows
        for number, row in enumerate(rows[split])
    ]
    # Processes are spawned, as the fork of a process with threads, such as TensorFlow's, may hang.
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_write_scene, jobs, chunksize=16))
    for split, split_rows in rows.items():
        with open(os.path.join(output, f"{split}.csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["label", "youtube_id", "time_start", "time_end", "split"])
            writer.writeheader()
            writer.writerows(split_rows)


def _rows(split, count):
    return [
        {
            "label": list(MOTIONS)[number % len(MOTIONS)],
            "youtube_id": f"synth{split[0]}{number:05d}",
            "time_start": 0,
            "time_end": 10,
            "split": split,
        }
        for number in range(count)
    ]


def _relative_path(row):
    name = f"{row['youtube_id']}_{row['time_start']:06d}_{row['time_end']:06d}.mp4"
    return os.path.join(row["label"], name)


def _write_scene(job):
    path, label, seed, level = job
    write_video(path, *scene(label, seed, level))


def main(arguments=None):
    """Parses the command line and writes a data set, or a single video."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.synthetic", description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True, help="directory of the data set, or file of the video")
    parser.add_argument("--label", choices=MOTIONS, help="write a single video of this class, no data set")
    parser.add_argument("--train", type=int, default=1600, help="training videos (default 1600)")
    parser.add_argument("--val", type=int, default=240, help="validation videos (default 240)")
    parser.add_argument("--level", choices=LEVELS, default="easy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.label:
        os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
        write_video(options.output, *scene(options.label, (options.seed, 2), options.level))
    else:
        write_dataset(options.output, options.train, options.val, options.level, options.seed)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    sys.exit(main())
