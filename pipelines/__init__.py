"""Video in, batches out: manifests, clip sampling, decoding, augmentation, records and `tf.data`.

The modules know nothing of models. A clip passes through them in this order:

- `manifest` says which videos there are. It reads the annotations of data sets, and checks every file once.
- `order` says which video comes when, and draws what is random in its clip.
- `clips` says which frames make a clip.
- `video_files` is the source that reads files. `decoding` decodes them, in this process or in its own.
- `records` is the other source, which reads shards of JPEGs, and the command that writes them.
- `augmenting` changes pixels: it resizes, crops, flips and colours clips, and mixes batches.
- `labels` says what a clip shows, mirrored or not.
- `dataset` composes all of them as `tf.data`, for training and for evaluation.
- `account` keeps which videos were used, and which could not be, and why (`bad_video`).

`builders` is for TFDS, `synthetic` makes data sets with known answers, `whole_files` writes files whole or
not at all.
"""

import quiet_tensorflow

quiet_tensorflow.in_programs()
