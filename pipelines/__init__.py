"""Video in, batches out: manifests, clip sampling, decoding, augmentation, records and `tf.data`.

The modules know nothing of models. A clip passes through them in this order:

- `manifest`: which videos there are. It reads the annotations of data sets, and checks every file once.
- `order`: which video comes when, and what is drawn for it.
- `clips`: which frames make a clip.
- `video_files`: the source that reads files. `decoding` decodes them, here or in processes of its own.
- `records`: the other source, which reads shards of JPEGs, and the command that writes them.
- `augmenting`: what is done to pixels: resizing, crops, flips, colours, and on batches mixing.
- `labels`: what a clip shows, mirrored or not.
- `dataset`: composes all of them as `tf.data`, for training and for evaluation.
- `account`: which videos were used, and which could not be, and why (`bad_video`).

`builders` is for TFDS, `synthetic` makes data sets with known answers, `whole_files` writes files whole or
not at all.
"""
