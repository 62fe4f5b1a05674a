"""TFDS builders: data sets that cannot be downloaded by a program, prepared once and loaded by name.

    $ python -m pipelines.builders kinetics400 --manual_dir=kinetics400

This is `tfds build --imports=pipelines.builders` with its flags, such as `--data_dir`; the program `tfds`
itself only starts where Apache Beam and mlcroissant are installed. The manual directory is the folder of the
data set; a builder's `MANUAL_DOWNLOAD_INSTRUCTIONS` say what belongs there. Building takes space for two
copies of the videos. Importing this package makes the names known to TFDS:

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

Videos stay the encoded files that they were, as bytes; decoded, they would take many times the space. Only
Something-Something V1, which comes as JPEGs, has frames, uint8 [T, H, W, 3]; the text of
`info.features["video"].doc` says how to load them as JPEGs. Building decodes nothing, so
`dataset.ignore_errors(log_warning=True)` is needed to skip files that turn out to be damaged.
`info.metadata["unusable"]` names the annotated videos that are missing; `info.metadata["mirrored"]` has the
class that the mirrored clip of each class shows, where this is known.
"""

from pipelines.builders.data_sets import (
    Charades,
    Hmdb51,
    Kinetics400,
    MiniKinetics200,
    SomethingSomethingV1,
    SomethingSomethingV2,
)

__all__ = [
    "Charades",
    "Hmdb51",
    "Kinetics400",
    "MiniKinetics200",
    "SomethingSomethingV1",
    "SomethingSomethingV2",
]
