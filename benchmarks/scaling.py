"""What a training of any size needs: cores, disk, network and hours, from what one core does here.

python benchmarks/scaling.py [--videos=300000] [--epochs=50] [--teraflops=50]

Measured, on one core: training clips from files (10 s of H.264, 340x256) and from records (50 JPEGs each),
and records made of files. Calculated: everything else. No GPU is measured: `--teraflops` is what one is said
to reach in this training, and a clip takes three times the multiply-adds of TSM ResNet-50, two operations
for each. Files of real videos are said to have `--megabytes` each, as those made here are small.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import pipeline
import records

FRAMES, VIDEOS = 50, 4


def from_files(rounds):
    """Returns the training clips per second of one core, from files."""
    from pipelines.clips import segment_training_clip

    with tempfile.TemporaryDirectory() as directory:
        clips, _ = pipeline.training(pipeline.one_video(directory, 96), segment_training_clip, workers=1)
        return pipeline.BATCH / statistics.median(pipeline.seconds_of(clips) for _ in range(rounds))


def from_records(rounds):
    """Returns the training clips per second of one core, from records, and the bytes of a record's frame."""
    from pipelines.clips import segment_training_clip

    with tempfile.TemporaryDirectory() as directory:
        source, frame_bytes = records.write_records(directory, records.scene(FRAMES))
        clips, _ = pipeline.training(source, segment_training_clip, workers=1, epochs=4)
        seconds = statistics.median(pipeline.seconds_of(clips) for _ in range(rounds))
        return pipeline.BATCH / seconds, frame_bytes


def to_records(rounds):
    """Returns the videos per second that one core turns into records."""
    from pipelines.decoding.decode import decode_frames
    from pipelines.records.shards import Settings, Shard, write_shard

    with tempfile.TemporaryDirectory() as directory:
        videos = pipeline.one_video(directory, VIDEOS).videos
        settings = Settings(fps=FRAMES / 10)
        times = []
        for number in range(rounds + 1):
            path = os.path.join(directory, f"{number}.tfrecord")
            start = time.perf_counter()
            write_shard(Shard(path, videos, settings), decode_frames)
            times.append(time.perf_counter() - start)
        return VIDEOS / statistics.median(times[1:])


def network():
    """Returns the parameters and the multiply-adds of a clip of TSM ResNet-50."""
    from keras_nonlocal import VideoResNet, counting

    model = VideoResNet(50, temporal="tsm", input_shape=(8, 224, 224, 3), num_classes=400)
    return model.count_params(), counting.count(model).total.executed


def measured(name, rounds):
    """Returns what a function of this file finds in a process on one core."""
    command = ["taskset", "-c", "0", sys.executable, __file__, f"--run={name}", f"--rounds={rounds}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr[-3000:])
    return json.loads(process.stdout.splitlines()[-1])


def main():
    """Measures, calculates and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=300_000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--teraflops", type=float, default=50.0)
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(globals()[options.run](options.rounds)))
        return
    files, made = (measured(name, options.rounds) for name in ("from_files", "to_records"))
    stored, frame_bytes = measured("from_records", options.rounds)
    parameters, multiply_adds = network()
    rate = options.teraflops * 1e12 / (3 * 2 * multiply_adds)
    record_megabytes = FRAMES * frame_bytes / 1e6
    print(f"| one core | a second | {options.videos:,} videos |\n|---|---|---|")
    for name, each in (("records made of files, videos", made), ("training clips from files", files)):
        print(f"| {name} | {each:.1f} | {options.videos / each / 3600:.1f} core hours |")
    print(f"| training clips from records | {stored:.1f} | {options.videos / stored / 3600:.1f} core hours |")
    for name, megabytes in (("files", options.megabytes), ("records", record_megabytes)):
        print(f"| {name}, {megabytes:.1f} MB each | | {options.videos * megabytes / 1e3:,.0f} GB |")
    print(f"\n| {options.epochs} epochs on | 1 GPU | 8 GPUs | 64 GPUs |\n|---|---|---|---|")
    rows = {
        f"hours, at {rate:.0f} clips/s a GPU": lambda n: (
            f"{options.videos * options.epochs / (rate * n) / 3600:.1f}"
        ),
        "cores for clips from files": lambda n: f"{rate * n / files:.0f}",
        "cores for clips from records": lambda n: f"{rate * n / stored:.0f}",
        "MB/s read, files": lambda n: f"{rate * n * options.megabytes:,.0f}",
        "MB/s read, records": lambda n: f"{rate * n * record_megabytes:,.0f}",
        "MB of gradients sent by a GPU a step": lambda n: f"{4 * parameters * 2 * (n - 1) / n / 1e6:.0f}",
        "steps/s at 8 clips a GPU": lambda n: f"{rate / 8:.1f}",
    }
    for name, value in rows.items():
        print(f"| {name} | {' | '.join(value(n) for n in (1, 8, 64))} |")


if __name__ == "__main__":
    main()
