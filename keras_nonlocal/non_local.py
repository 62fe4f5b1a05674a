"""NonLocal: every position attends to every other one."""

import keras
from keras import ops

from keras_nonlocal.affinity import (
    concatenation_aggregate,
    concatenation_weights,
    dot_product_aggregate,
    dot_product_weights,
    softmax_aggregate,
    softmax_weights,
)
from keras_nonlocal.arguments import bottleneck_width, check_bottleneck, check_choice, check_count
from keras_nonlocal.positions import (
    check_fits,
    check_map,
    check_multiples,
    check_window,
    flatten_reach,
    max_pool,
    restore_reach,
)
from keras_nonlocal.projection import FROZEN, closing_norm, projection

PAIRWISE = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")
POOL_ORDERS = ("after", "before")
RANKS = {"spacetime": (3, 4, 5), "space": (4, 5), "time": (5,)}  # the ranks of maps that have each reach


@keras.saving.register_keras_serializable("keras_nonlocal")
class NonLocal(keras.layers.Layer):
    """Non-local block: a weighted sum over all positions, added to the input.

    Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971,
    equations 1 to 6:

        y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j),  z = x + BN(W_z y)

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        pairwise: the function f, with M keys j:
            "embedded_gaussian": exp(theta(x_i) . phi(x_j)), C(x) the sum of them: a softmax;
            "gaussian": exp(x_i . x_j), likewise, without theta and phi;
            "dot_product": theta(x_i) . phi(x_j), C(x) = M;
            "concatenation": ReLU(w_f . [theta(x_i), phi(x_j)]), C(x) = M.
        reach: which keys a position sees: "spacetime" all of the clip, "space" those of its frame,
            "time" those of its pixel (table 2d). "space" needs an image or a video, "time" a video.
        window_frames: videos only: cuts the clip into windows of this many frames that do not see
            each other; must divide T. None means one window.
        channels: width d of theta, phi and g; None means C // 2.
        subsample: max-pool window (t, h, w) for keys and values, stride = window; images use its
            last two entries, sequences the last one, and a reach uses those of its own axes.
            None keeps every position.
        pool_order: "after" pools phi(x) and g(x), as the paper's section 3.3; "before" pools x
            once and then applies phi and g.
        scaled: True multiplies the logits of both Gaussians by d^-1/2.
        batch_norm: False leaves BN out and starts W_z at 0, for training with frozen batch norms.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it: gamma then starts
            at 1, and W_z at 0. None leaves that to `VideoResNet`.
        kernel_initializer: of theta, phi, g, w_f and W_z; their biases start at 0.

    Call:
        training: True makes BN use the statistics of the batch.

    Cost:
        With N = T*H*W positions and M keys in reach of each, the projections take O(N C d) products.
        Gaussians: O(N M d) products and memory for a tile of the [N, M] matrix. Dot product:
        O((N + M) d^2), as theta (phi^T g). Concatenation: O((N + M) d), by sorting.

    Differs:
        As in the paper and in TSM's code, the defaults pool after phi and g and do not scale. The
        authors' code is NonLocal(pool_order="before", scaled=True,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01)); max-pooling and a
        1x1x1 convolution do not commute, so weights need the order that they were trained with. For
        128-frame clips that code has window_frames=4 in res3. The paper starts with He normal, the
        default; TSM's code with torch's default, VarianceScaling(1 / 3, "fan_in", "uniform").

    Raises:
        ValueError: an unknown `pairwise`, `reach` or `pool_order`; `channels` or `window_frames`
            below 1; `scaled` without an exponential; a `subsample` window larger than the map, or one
            that `window_frames` does not hold without remainder; frames that `window_frames` does
            not divide; a rank that has no such reach; unknown channels; a channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = NonLocal()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        526592
    """

    def __init__(
        self,
        *,
        pairwise="embedded_gaussian",
        reach="spacetime",
        window_frames=None,
        channels=None,
        subsample=(1, 2, 2),
        pool_order="after",
        scaled=False,
        batch_norm=True,
        frozen_batch_norm=None,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_choice(self, "pairwise", pairwise, PAIRWISE)
        check_choice(self, "reach", reach, tuple(RANKS))
        check_choice(self, "pool_order", pool_order, POOL_ORDERS)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        check_bottleneck(self, channels)
        self.pairwise = pairwise
        self.reach = reach
        self.window_frames = window_frames
        self.channels = channels
        self.subsample = None if subsample is None else check_window("subsample", subsample, self.name)
        self.pool_order = pool_order
        self.scaled = scaled
        self.batch_norm = batch_norm
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self._check_combination()

    def _check_combination(self):
        if self.scaled and self.pairwise not in ("embedded_gaussian", "gaussian"):
            raise ValueError(
                f"{self.name}: Expected `scaled` only with 'embedded_gaussian' or 'gaussian', whose logits "
                f"it scales. Received scaled=True with {self.pairwise!r}. Try: scaled=False."
            )
        if self.window_frames is None:
            return
        check_count(self, "window_frames", self.window_frames)
        if self.window_frames % self.pool_window()[0]:
            raise ValueError(
                f"{self.name}: Expected windows of frames that hold whole sub-sampling windows. Received "
                f"window_frames={self.window_frames}, subsample={self.subsample}. Try: subsample=(1, 2, 2)."
            )

    def pool_window(self):
        """Returns the entries of `subsample` on the axes of the reach, and 1 on the others."""
        t, h, w = self.subsample or (1, 1, 1)
        return {"spacetime": (t, h, w), "space": (1, h, w), "time": (t, 1, 1)}[self.reach]

    def _check_shape(self, input_shape):
        """Returns the number of channels, or raises ValueError where the known sides do not fit the block."""
        channels = check_map(self, input_shape, (5,) if self.window_frames else RANKS[self.reach])
        check_fits(self, self.pool_window(), input_shape)
        if self.window_frames:
            remedy = "a `window_frames` that divides the number of frames."
            check_multiples(self, (self.window_frames, 1, 1), input_shape, remedy)
        return channels

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = self._check_shape(input_shape)
        width = bottleneck_width(self, channels)
        embeddings = () if self.pairwise == "gaussian" else ("theta", "phi")
        for name in (*embeddings, "g"):
            setattr(self, name, projection(self, width, name))
            getattr(self, name).build(input_shape)
        if self.pairwise == "concatenation":
            initializer = keras.initializers.get(keras.initializers.serialize(self.kernel_initializer))
            self.w_f = self.add_weight(shape=(2 * width, 1), initializer=initializer, name="w_f")
        self.out = projection(self, channels, "out", zero=self.frozen_batch_norm or not self.batch_norm)
        self.out.build((*input_shape[:-1], width))
        self.norm = closing_norm(self) if self.batch_norm else None
        if self.batch_norm:
            self.norm.build(input_shape)

    def call(self, x, training=None):
        """Adds to each position what it gathers from the keys in its reach."""
        self._check_shape(x.shape)
        y = self._aggregate(*self.embed(x))  # [B', N, d]
        y = self.out(restore_reach(y, x, self.reach))  # [B, ..., C]
        return x + (self.norm(y, training=training) if self.batch_norm else y)

    def embed(self, x):
        """Returns queries [B', N, D], keys [B', M, D] and values [B', M, d].

        B' is B times the count of parts of the map that do not see each other. For "concatenation", queries
        and keys are the terms of the sum: D = 1.
        """
        source = max_pool(x, self.pool_window()) if self.pool_order == "before" else x
        values = self._lay_keys(self.g(source))
        if self.pairwise == "gaussian":
            return self.lay_out(x), self._lay_keys(source), values
        if self.pairwise != "concatenation":
            return self.lay_out(self.theta(x)), self._lay_keys(self.phi(source)), values
        of_theta, of_phi = ops.split(self.w_f, 2, axis=0)  # [d, 1] each
        query_terms = self.lay_out(_folded(x, self.theta, of_theta))  # [B', N, 1]
        if self._pools_after():
            key_terms = ops.matmul(self._lay_keys(self.phi(source)), of_phi)  # [B', M, 1]
        else:
            key_terms = self._lay_keys(_folded(source, self.phi, of_phi))
        return query_terms, key_terms, values

    def _aggregate(self, queries, keys, values):
        if self.pairwise == "concatenation":
            return concatenation_aggregate(queries[..., 0], keys[..., 0], values)
        if self.pairwise == "dot_product":
            return dot_product_aggregate(queries, keys, values)
        return softmax_aggregate(queries, keys, values, self._scale(queries))

    def weigh(self, queries, keys):
        """Returns the weights f / C(x) of some of the queries of `embed`: [B', n, D] -> [B', n, M]."""
        if self.pairwise == "concatenation":
            return concatenation_weights(queries[..., 0], keys[..., 0])
        if self.pairwise == "dot_product":
            return dot_product_weights(queries, keys)
        return softmax_weights(queries, keys, self._scale(queries))

    def lay_out(self, x, pooled=False):
        """Lays a map, or one of the sub-sampled sides of the keys, out as queries and keys are."""
        frames = self.window_frames
        if pooled and frames:
            frames = frames // self.pool_window()[0]
        return flatten_reach(x, self.reach, frames)

    def _scale(self, queries):
        return queries.shape[-1] ** -0.5 if self.scaled else 1.0

    def _pools_after(self):
        return self.pool_order == "after" and self.pool_window() != (1, 1, 1)

    def _lay_keys(self, x):
        return self.lay_out(max_pool(x, self.pool_window()) if self._pools_after() else x, pooled=True)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "pairwise": self.pairwise,
            "reach": self.reach,
            "window_frames": self.window_frames,
            "channels": self.channels,
            "subsample": self.subsample,
            "pool_order": self.pool_order,
            "scaled": self.scaled,
            "batch_norm": self.batch_norm,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _folded(x, embedding, weight):
    """Returns weight . embedding(x) without computing embedding(x): O(N C) products, not O(N C d)."""
    if embedding.quantization_mode:  # A quantized kernel is no matrix of floats.
        return ops.matmul(embedding(x), weight)
    return ops.matmul(x, ops.matmul(embedding.kernel, weight)) + ops.matmul(embedding.bias[None], weight)
