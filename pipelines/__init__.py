"""Video in, batches out: manifests, clip sampling, decoding, augmentation and `tf.data`.

The modules know nothing of models. Read them in the order in which a clip passes through:
`manifest` -> `clips` -> `decode` -> `augment` -> `dataset`; `bad_videos` keeps the account of
what could not be read, and `synthetic` makes data sets with known answers.
"""
