"""2,000 damaged videos: each gives frames or a reason, none crashes the decoder, and none makes it hang."""

import collections
import json

import pytest
import small_run
from mutations import mutated_videos

from pipelines.bad_video import BadVideo
from pipelines.decoding.isolation import IsolatedDecoder

COUNT, SEED = 2000, 0
# What becomes of a decoder that crashes, hangs, or writes into memory that is not its own.
FAILURES = ("the decoder", "decoding took")


def test_damaged_videos_give_frames_or_a_reason():
    outcomes, reasons, failures = collections.Counter(), set(), []
    with IsolatedDecoder(workers=1, timeout_seconds=20) as decode:
        for name, data in mutated_videos(COUNT, SEED):
            try:
                frames = decode(data, lambda seconds: [0, len(seconds) // 2, len(seconds) - 1]).frames
                outcomes["frames"] += frames.shape[0] == 3 and frames.shape[3] == 3
            except BadVideo as bad:
                outcomes["bad"] += 1
                reasons.add(bad.reason)
                if bad.reason.startswith(FAILURES):
                    failures.append(f"{name}: {bad.reason}")
    assert failures == []
    assert outcomes.total() == COUNT
    assert (
        min(outcomes.values()) > COUNT / 10 and len(reasons) > 10
    )  # The damage is neither too great nor dull.


def test_the_damage_is_the_same_each_time():
    assert list(mutated_videos(14, seed=3)) == list(mutated_videos(14, seed=3))
    assert [data for _, data in mutated_videos(14, seed=3)] != [
        data for _, data in mutated_videos(14, seed=4)
    ]


# In a process of its own, as a decoder that crashes here takes all with it.
THROUGH_THE_PIPELINE = """
import functools, json, logging, sys
from pipelines import clips
from pipelines.augmenting import crops
from pipelines.augmenting.resizing import scale_short_side
from pipelines.manifest.annotations import read_folders
from pipelines.account import Account
from pipelines.dataset import ClipFormat, evaluation_views, training_clips
from pipelines.order import Schedule
from pipelines.video_files import VideoFiles

logging.disable()
manifest, shape = read_folders(sys.argv[1]), ClipFormat(4, 32, (0, 0, 0), (1, 1, 1))
account = Account(manifest)
source = VideoFiles(manifest)
views = evaluation_views(
    source, shape, sample=clips.segment_test_clips, clips=1, crops=1, batch_size=50, account=account
)
weights = [weight for _, _, batch in views for weight in batch.numpy().tolist()]
before = account.summary()
training = Account(manifest)
batches = training_clips(
    source, shape, Schedule(len(manifest), batch_size=50, epochs=1), sample=clips.segment_training_clip,
    transform=functools.partial(crops.multi_scale_crop, size=32), flip=True, account=training,
    scale=functools.partial(scale_short_side, size=40)
)
count = sum(len(labels) for _, labels in batches)
print(json.dumps({"weights": weights, "evaluation": before, "clips": count, "training": training.summary()}))
"""


@pytest.mark.parametrize("count", [200, pytest.param(COUNT, marks=pytest.mark.long)])
def test_damaged_videos_go_through_the_pipeline_and_none_is_lost(count, tmp_path):
    for name, data in mutated_videos(count, SEED):
        folder = tmp_path / f"class {len(data) % 4}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.mp4").write_bytes(data)
    process = small_run.run_python("-c", THROUGH_THE_PIPELINE, tmp_path)
    assert process.returncode == 0, process.stderr[-2000:]
    found = json.loads(process.stdout.splitlines()[-1])
    account = found["evaluation"]
    assert (account["videos"], account["never_read"]) == (count, 0)
    assert account["used"] + account["skipped"] == count == len(found["weights"])
    assert account["used"] == sum(found["weights"]) > count / 10
    assert account["skipped"] == sum(account["skipped_reasons"].values()) == len(account["bad"])
    trained = found["training"]
    assert found["clips"] == count and trained["replaced_clips"] >= trained["skipped"] > count / 10
    assert trained["used"] + trained["skipped"] + trained["never_read"] == count
