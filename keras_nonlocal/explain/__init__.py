"""What a trained model looks at: the weights of its attention blocks for a clip, and Grad-CAM.

`blocks_of(model)` names the blocks of a model. `attention_rows` has the weights with which a position of a
`NonLocal` or `RegionNonLocal` sums up all others, `element_rows` those of a `CompactGeneralizedNonLocal`,
`bilinear_matrices` and `bilinear_maps` what a `BilinearAttentionTransform` multiplies by, and `gates` what
the other blocks do to channels and positions. `grad_cam` shows what speaks for a class. `strongest_links`,
`to_pixels`, `upsample` and `above_threshold` make pictures of them.

Models are in inference here: batch norms use their running statistics, and nothing is dropped. A clip is
[T, H, W, C], normalised as for the model, or an image [H, W, C]; a batch of one may stand before it. Results
are NumPy arrays in float32, without the batch.
"""

from keras_nonlocal.explain.finding import block_input, blocks_of
from keras_nonlocal.explain.gradients import grad_cam
from keras_nonlocal.explain.pictures import above_threshold, strongest_links, to_pixels, upsample
from keras_nonlocal.explain.rows import attention_rows, element_rows
from keras_nonlocal.explain.transforms import bilinear_maps, bilinear_matrices, gates

__all__ = [
    "above_threshold",
    "attention_rows",
    "bilinear_maps",
    "bilinear_matrices",
    "block_input",
    "blocks_of",
    "element_rows",
    "gates",
    "grad_cam",
    "strongest_links",
    "to_pixels",
    "upsample",
]
