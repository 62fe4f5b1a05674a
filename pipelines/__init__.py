"""Video in, batches out: manifests, clip sampling, decoding, augmentation, records and `tf.data`.

The modules know nothing of models. In the order in which a clip passes through:

- `manifest` (with `manifest_rows`, `manifest_lines`): which videos there are; `annotations` reads the formats
  of data sets into one, and `checking` decodes every file once.
- `order`: which video comes when, and what is drawn for it.
- `clips`: which frames make a clip.
- `video_files`: frames from files, by `decode` (with `containers`, `images`) here or in the processes of
  `isolation`.
- `records`: frames from shards instead, which `prepare` makes and `shards` describes.
- `augment`, `colour`, `rand_augment`, and on batches `mixing`: what is done to pixels; `layer_adapter` makes
  layers of Keras and KerasCV treat all frames of a clip alike.
- `labels`: what a clip shows, mirrored or not.
- `dataset`: all of that as `tf.data`.

`account` says which videos were used and which could not be, `builders` is for TFDS, and `synthetic` makes
data sets with known answers.
"""
