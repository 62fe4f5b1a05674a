"""TFDS builders: data sets that cannot be downloaded by a program, prepared once and loaded by name.

    $ python -m pipelines.builders kinetics400 --manual_dir=kinetics400

This is `tfds build` with its flags, such as `--data_dir`. (`tfds build --imports=pipelines.builders` does the
same, but the program `tfds` only starts where Apache Beam and mlcroissant are installed.) The manual
directory is the folder of the data set; a builder's `MANUAL_DOWNLOAD_INSTRUCTIONS` say what belongs there.
While it builds, it takes space for two copies of the videos. Importing this package makes the names known:

    import tensorflow as tf
    import tensorflow_datasets as tfds
    import pipelines.builders
    from pipelines import clips
    from pipelines.decoding import decode

    def clip(example):
        def frames(video):
            choose = lambda seconds: clips.dense_test_clips(len(seconds), 8, clips=1)[0]
            return decode.decode_frames(video, choose).frames
        return tf.ensure_shape(tf.numpy_function(frames, [example["video"]], tf.uint8), (8, None, None, 3))

    dataset, info = tfds.load("kinetics400", split="validation", with_info=True)
    dataset = dataset.map(lambda example: (clip(example), example["label"]), num_parallel_calls=2)

Videos stay the files that they were, as bytes: as pictures they would take many times the space. Only
Something-Something V1, which comes as JPEGs, has frames, uint8 [T, H, W, 3]; the text at
`info.features["video"].doc` says how to have them encoded. Building decodes nothing, so add
`dataset.ignore_errors(log_warning=True)` to pass over files that turn out to be damaged. Annotated videos
that are missing are named in `info.metadata["unusable"]`; `info.metadata["mirrored"]` has the class that the
mirrored clip of each class shows, where this is known.
"""

from pipelines.builders.charades import charades_dataset_builder
from pipelines.builders.hmdb51 import hmdb51_dataset_builder
from pipelines.builders.kinetics400 import kinetics400_dataset_builder
from pipelines.builders.mini_kinetics200 import mini_kinetics200_dataset_builder
from pipelines.builders.something_something_v1 import something_something_v1_dataset_builder
from pipelines.builders.something_something_v2 import something_something_v2_dataset_builder

__all__ = [
    "charades_dataset_builder",
    "hmdb51_dataset_builder",
    "kinetics400_dataset_builder",
    "mini_kinetics200_dataset_builder",
    "something_something_v1_dataset_builder",
    "something_something_v2_dataset_builder",
]
