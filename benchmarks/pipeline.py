"""What the pipeline must reach, and what it does: speed beside other decoders, cores, memory, first batch.

python benchmarks/pipeline.py [--rows=records,memory] [--rounds=5]

Videos are 10 s of H.264, 340x256, 30 frames a second, made by `decoding.py`; clips have 8 frames, crops are
224x224. Every row runs in processes of its own, on as many cores as it says; what is compared takes turns.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CLIP_FRAMES, SIZE, BATCH = 8, 224, 8


def decoding(rounds):
    """Returns the clips per second of our decoder, and as multiples of decord's and PyAV's."""
    import decoding

    from pipelines.decoding.isolation import IsolatedDecoder

    with IsolatedDecoder(workers=1) as isolated:
        rates = decoding.measure(rounds, 1, isolated)

    def against(other, *cases):
        return min(
            statistics.median(a / b for a, b in zip(rates[case]["ours"], rates[case][other], strict=True))
            for case in cases
        )

    whole, window = ("8 of the whole video", 12), ("8 of a 64-frame window", 1)
    clips = {case: statistics.median(rates[case]["ours"]) for case in rates}
    return {
        "whole": clips[whole],
        "window": clips[window],
        "whole / decord": against("decord", whole, (whole[0], 1)),
        "whole / PyAV": against("PyAV", whole, (whole[0], 1)),
        "window / PyAV": against("PyAV", window),
    }


def training(videos, sample, epochs=1, **options):
    """Returns the training batches of a manifest's files, or of records, and the account."""
    from pipelines.account import Account
    from pipelines.augmenting import crops
    from pipelines.augmenting.resizing import scale_short_side
    from pipelines.dataset import ClipFormat, training_clips
    from pipelines.manifest import Manifest
    from pipelines.order import Schedule
    from pipelines.video_files import VideoFiles

    source = VideoFiles(videos) if isinstance(videos, Manifest) else videos
    account = Account(source.manifest)
    batches = training_clips(
        source,
        ClipFormat(CLIP_FRAMES, SIZE, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
        Schedule(len(source.manifest), BATCH, epochs),
        sample=sample,
        transform=functools.partial(crops.multi_scale_crop, size=SIZE),
        flip=True,
        account=account,
        scale=functools.partial(scale_short_side, size=256),
        **options,
    )
    return batches, account


def one_video(directory, times):
    """Returns a manifest that has one video many times."""
    import decoding

    from pipelines.manifest import Label, Manifest, Video

    path = os.path.join(directory, "video.mp4")
    decoding.write_video(path, 250)  # x264's default distance between key frames
    return Manifest((Video(path, (Label(0),)),) * times, ("class",))


def seconds_of(batches):
    """Returns the mean seconds between two batches of a data set.

    The time in which threads start and end is left out, as a run does so once.
    """
    times = [time.perf_counter() for _ in batches]
    return (times[-1] - times[0]) / (len(times) - 1)


def batches(rounds):
    """Returns the seconds per training batch, from files to normalised clips."""
    from pipelines.clips import dense_training_clip

    with tempfile.TemporaryDirectory() as directory:
        clips, _ = training(one_video(directory, times=128), dense_training_clip)
        seconds_of(clips)
        return {"seconds": statistics.median(seconds_of(clips) for _ in range(rounds))}


def augmentation(rounds):
    """Returns how much longer training batches take than batches of the same frames, only decoded."""
    import tensorflow as tf

    from pipelines.clips import dense_training_clip, segment_training_clip
    from pipelines.dataset.fetching import fetch
    from pipelines.order import Order
    from pipelines.video_files import VideoFiles

    found, times = {}, 96
    with tempfile.TemporaryDirectory() as directory:
        manifest = one_video(directory, times)
        order = Order(times, times, seed=0)
        source = VideoFiles(manifest)
        for name, sample in (("whole", segment_training_clip), ("window", dense_training_clip)):

            def frames(row, sample=sample):
                draws = order.draws(row, 0, CLIP_FRAMES)
                return fetch(source, row, lambda n, drawn: sample(n, CLIP_FRAMES, drawn), draws)[1]

            decoded = tf.data.Dataset.range(times).map(frames, num_parallel_calls=1).batch(BATCH).prefetch(1)
            clips, _ = training(manifest, sample, workers=1)
            ratios = [seconds_of(clips) / seconds_of(decoded) - 1 for _ in range(rounds + 1)]
            found[name] = statistics.median(ratios[1:])  # the first round warms up
    return found


def rand_augment(rounds):
    """Returns the clips of 8x256x340 per second through RandAugment, on average over its draws."""
    import augmentation as operations
    import tensorflow as tf

    from pipelines.augmenting.rand_augment import rand_augment

    tf.config.threading.set_intra_op_parallelism_threads(1)
    return {
        "clips": 1e3 / statistics.mean(operations.milliseconds(rand_augment, operations.clip(), 60 * rounds))
    }


def records(rounds):
    """Returns the clips per second from records of 50 frames."""
    import records as reading

    with tempfile.TemporaryDirectory() as directory:
        clips = reading.reader(reading.write_records(directory, reading.scene(50))[0])
        return {"clips": statistics.median(reading.clips_per_second(clips) for _ in range(rounds))}


def memory(rounds):
    """Returns the megabytes of the process after each of three epochs of 2,000 clips."""
    from pipelines.clips import dense_training_clip

    found = []
    with tempfile.TemporaryDirectory() as directory:
        batches, _ = training(one_video(directory, times=2000), dense_training_clip, epochs=3)
        for step, batch in enumerate(batches):
            del batch
            if step % 250 == 249:
                with open("/proc/self/status", encoding="utf-8") as status:
                    (line,) = (line for line in status if line.startswith("VmRSS"))
                found.append(int(line.split()[1]) / 1024)
    return {"megabytes": found}


def first_batch(rounds):
    """Returns the seconds from a folder of 10,000 files to the first batch."""
    import decoding

    from pipelines.clips import dense_training_clip
    from pipelines.manifest.annotations import read_folders

    with tempfile.TemporaryDirectory() as directory:
        video = os.path.join(directory, "video.mp4")
        decoding.write_video(video, 250)
        for file in range(10_000):
            folder = os.path.join(directory, "data", f"class {file % 100:02}")
            os.makedirs(folder, exist_ok=True)
            os.link(video, os.path.join(folder, f"{file}.mp4"))
        start = time.perf_counter()
        manifest = read_folders(os.path.join(directory, "data"))
        clips, _ = training(manifest, dense_training_clip)
        next(iter(clips))
        return {"seconds": time.perf_counter() - start, "videos": len(manifest)}


def run(function, cores, rounds):
    """Runs a function of this file in a process on `cores` cores; returns what it found."""
    command = [sys.executable, __file__, "--run", function.__name__, str(cores), str(rounds)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(process.stderr[-3000:])
    return json.loads(process.stdout.splitlines()[-1])


def decoding_rows(rounds):
    """Yields the two rows of decoding alone."""
    found = run(decoding, 1, rounds)
    yield (
        "8 frames of a 10 s clip, one core",
        f"{found['whole / decord']:.2f}x decord, "
        f"{found['whole / PyAV']:.2f}x PyAV, {found['whole']:.0f} clips/s",
        "1.0x decord, 0.9x PyAV",
        found["whole / decord"] >= 1 and found["whole / PyAV"] >= 0.9,
    )
    yield (
        "8 of a 64-frame window, key frame each second, one core",
        f"{found['window / PyAV']:.2f}x PyAV, {found['window']:.0f} clips/s",
        "0.9x PyAV",
        found["window / PyAV"] >= 0.9,
    )


def cores_rows(rounds):
    """Yields the row of training batches on two cores and on one, which take turns."""
    ratios = [run(batches, 1, 2)["seconds"] / run(batches, 2, 2)["seconds"] for _ in range(rounds)]
    ratio = statistics.median(ratios)
    yield "training batches, two cores", f"{ratio:.2f}x one core", "1.6x", ratio >= 1.6


def augmentation_rows(rounds):
    """Yields the rows of what crop, flip, normalisation and batching add to decoding, and of RandAugment."""
    found = run(augmentation, 1, rounds)
    for name, what in (("whole", "8 frames of a 10 s clip"), ("window", "8 of a 64-frame window")):
        yield (
            f"{what}: what augmentation adds to decoding",
            f"{found[name]:.1%}",
            "at most 15%" if name == "whole" else "",
            found[name] <= 0.15 if name == "whole" else None,
        )
    clips = run(rand_augment, 1, rounds)["clips"]
    yield "RandAugment of 8x256x340, one core", f"{clips:.0f} clips/s", "40 clips/s", clips >= 40


def records_rows(rounds):
    """Yields the row of reading stored frames."""
    clips = run(records, 1, rounds)["clips"]
    yield "8 stored frames from records, one core", f"{clips:.0f} clips/s", "300 clips/s", clips >= 300


def memory_rows(rounds):
    """Yields the row of the memory's growth over three epochs."""
    found = run(memory, 2, rounds)["megabytes"]
    growth = found[2] - found[0]
    yield (
        "memory after 2,000, 4,000 and 6,000 clips",
        " / ".join(f"{size:.0f} MB" for size in found),
        "flat: within 50 MB",
        abs(growth) <= 50,
    )


def first_batch_rows(rounds):
    """Yields the row of the start on a large folder."""
    found = run(first_batch, 2, rounds)["seconds"]
    yield "first batch from a folder of 10,000 files", f"{found:.2f} s", "5 s", found < 5


ROWS = {
    "decoding": decoding_rows,
    "cores": cores_rows,
    "augmentation": augmentation_rows,
    "records": records_rows,
    "memory": memory_rows,
    "first_batch": first_batch_rows,
}


def main():
    """Prints the table and returns the exit status, 1 if something is not reached."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default=",".join(ROWS), help="which of " + ", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        name, cores, rounds = options.run
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
        print(json.dumps(globals()[name](int(rounds))))
        return 0
    print("| what | reached | must reach | |\n|---|---|---|---|", flush=True)
    all_reached = True
    for name in options.rows.split(","):
        for what, reached, must, fulfilled in ROWS[name](options.rounds):
            mark = {True: "yes", False: "**no**", None: ""}[fulfilled]
            print(f"| {what} | {reached} | {must} | {mark} |", flush=True)
            all_reached &= fulfilled is not False
    return 0 if all_reached else 1


if __name__ == "__main__":
    sys.exit(main())
