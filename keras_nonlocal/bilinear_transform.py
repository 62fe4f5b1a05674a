"""BilinearAttentionTransform: small matrices mix whole rows, columns and frames."""

import keras
from keras import ops

from keras_nonlocal.arguments import (
    bottleneck_width,
    check_bottleneck,
    check_choice,
    check_count,
    check_divides,
    check_rate,
    check_sides,
)
from keras_nonlocal.bilinear import (
    apply_matrices,
    block_maxima,
    block_means,
    enlarge,
    matrix_sides,
    normalise,
    pair,
    place_windows,
    shrink,
)
from keras_nonlocal.positions import check_map, check_multiples, shape_of
from keras_nonlocal.precision import at_least_float32
from keras_nonlocal.projection import FROZEN, batch_norm, projection

TRANSFORMS = ("block_based", "full_resolution", "downsampling")
NORMALIZATIONS = ("sigmoid", "softmax")


@keras.saving.register_keras_serializable("keras_nonlocal")
class BilinearAttentionTransform(keras.layers.Layer):
    """Bilinear attentional block: multiplies groups of channels by matrices that it makes from the map.

    Chi, Yuan, Mu, Wang, "Non-Local Neural Networks With Grouped Bilinear Attentional
    Transforms", CVPR 2020, equations 1 and 2 and their extension to time:

        u = f(x),  Y_c = P_g X_c Q_g,  T_g over frames,  z = x + dropout(f(f(Y)))

    X_c is channel c of a frame of u, and g is its group; each f is a 1x1x1 convolution with bias, BN
    and ReLU. P, Q and T come from f(u), which has C' channels: it is pooled to s rows and s columns
    (maximum) and to r frames (average), then convolved over their whole length. P is normalised
    along its last axis, Q along its first, T along the frames that it reads.

    Shapes:
        [B, H, W, C] or [B, T, H, W, C] -> the same; all but C may be unknown.

    Args:
        transform: "block_based", s x s matrices that move blocks of H/s rows and W/s columns;
            "downsampling", the map averaged to s x s, transformed and enlarged bilinearly with
            half-pixel centres; "full_resolution", H x H and W x W matrices in the place of s,
            for one map size, known when the layer is built; "block_based" with size=(H, W) is the
            same where sides are not known.
        spatial_groups: k, number of P and Q for each frame; divides `channels`; 0 means P = Q = I.
        temporal_groups: k_t, number of T for each clip; divides `channels`; 0 means none. Images
            have none.
        context_channels: C', width of the map that makes the matrices; None means k, or k_t for k = 0.
        size: s, at least 1, or a pair (s_h, s_w) for rows and columns; H and W are multiples of it.
        temporal_size: r, at least 1; T is a multiple of it where there are temporal groups.
        matrix_size: side of P and Q, or a pair of them, not below s. None means s. A larger side m
            is filled by the s x s predictions of the m - s + 1 windows of the pooled map, averaged
            along the diagonal; "fitted" takes H // (H // s) and, where `size` is a pair,
            W // (W // s_w) for Q. H and W are then multiples of m.
        normalization: "sigmoid", divided by its sum, equation 2; or "softmax".
        channels: width d between the outer convolutions; None means C // 2.
        dropout: rate in [0, 1) at which whole channels of the branch are dropped in training.
        kernel_initializer: of all convolutions; None means He normal over the fan-out. Biases
            start at 0.
        frozen_batch_norm: True keeps BN to its running statistics, and does not train it. None leaves that
            to `VideoResNet`.

    Call:
        training: True makes BN use the statistics of the batch and turns the dropout on.

    Cost:
        N = T*H*W positions: the projections take O(N C d) products, the transform N d (2 s + r),
        which is H/s times fewer than with H x H matrices, and memory for four copies of u. P and Q
        have C' k s^3 weights each.

    Differs:
        The paper's text has no f between the transform and the last convolution; its costs and its
        code have one. The defaults are equation 2 and k = 4, as in the released image code, whose
        biases start as torch's, and k_t = 4, as in the paper's BAT(4, 4); the paper's best Kinetics
        model has k = 8, k_t = 4. The released video code is this layer with normalization="softmax",
        matrix_size="fitted" and the code's spatial_groups and temporal_groups (0 in its 2-D models);
        the code knows the sides s and s + 1 only, one s for both axes, and C' = k. Dropout is in the
        code alone; for ResNet-18 and -34 it is 0.0 there. Downsampling was not released: by its cost,
        the f after the transform runs at s x s; the average and the interpolation are ours. The last
        gamma starts at 1 in all of them, so the block does not start as an identity.

    Raises:
        ValueError: an unknown `transform` or `normalization`; counts and sizes below their minimum;
            groups that do not divide the width; `dropout` outside [0, 1); sides that are not
            multiples; unknown or changing sides in full resolution; a rank other than 4, 5;
            unknown channels; a channels_first data format.

    Example:
        >>> import math, keras
        >>> layer = BilinearAttentionTransform(spatial_groups=4, temporal_groups=4)
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        344244
    """

    def __init__(
        self,
        transform="block_based",
        spatial_groups=4,
        temporal_groups=4,
        size=7,
        temporal_size=4,
        matrix_size=None,
        normalization="sigmoid",
        channels=None,
        context_channels=None,
        dropout=0.2,
        kernel_initializer=None,
        frozen_batch_norm=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_choice(self, "transform", transform, TRANSFORMS)
        check_count(self, "spatial_groups", spatial_groups, least=0)
        check_count(self, "temporal_groups", temporal_groups, least=0)
        check_sides(self, "size", size)
        check_count(self, "temporal_size", temporal_size)
        check_count(self, "context_channels", 1 if context_channels is None else context_channels)
        check_choice(self, "normalization", normalization, NORMALIZATIONS)
        check_choice(self, "frozen_batch_norm", frozen_batch_norm, FROZEN)
        check_bottleneck(self, channels)
        size, matrix_size = (tuple(x) if isinstance(x, list) else x for x in (size, matrix_size))
        _check_matrix_size(self, matrix_size, transform, size)
        check_rate(self, "dropout", dropout)
        self.transform = transform
        self.spatial_groups = spatial_groups
        self.temporal_groups = temporal_groups
        self.size = size
        self.temporal_size = temporal_size
        self.matrix_size = matrix_size
        self.normalization = normalization
        self.channels = channels
        self.context_channels = context_channels
        self.dropout = dropout
        self.frozen_batch_norm = frozen_batch_norm
        self.kernel_initializer = keras.initializers.get(
            kernel_initializer or keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        )

    def build(self, input_shape):
        """Creates the weights for inputs of this shape."""
        channels = check_map(self, input_shape, ranks=(4, 5))
        self.map_size = tuple(input_shape[-3:-1]) if self.transform == "full_resolution" else None
        self._check_sides(input_shape)
        width = bottleneck_width(self, channels)
        frame_groups = self.temporal_groups if len(input_shape) == 5 else 0
        check_divides(self, "spatial_groups", self.spatial_groups or 1, width)
        check_divides(self, "temporal_groups", frame_groups or 1, width)
        if len(input_shape) == 4:
            input_shape = (input_shape[0], 1, *input_shape[1:])
        inner_shape = (*input_shape[:-1], width)

        self.reduce, self.reduce_norm = self._convolution("reduce", width, input_shape)
        self.context = self.p = self.q = self.t = None
        context_width = self.context_channels or self.spatial_groups or frame_groups
        if self.spatial_groups or frame_groups:
            self.context, self.context_norm = self._convolution("context", context_width, inner_shape)
        if self.spatial_groups:
            rows, columns = self.map_size or pair(self.size)
            self.p = self._matrix_maker("p", rows, self.spatial_groups, context_width)
            self.q = self._matrix_maker("q", columns, self.spatial_groups, context_width)
        if frame_groups:
            self.t = self._matrix_maker("t", self.temporal_size, frame_groups, context_width)
        self.mix, self.mix_norm = self._convolution("mix", width, inner_shape)
        self.out, self.norm = self._convolution("out", channels, inner_shape, norm_name="norm")
        self.drop = keras.layers.SpatialDropout3D(
            self.dropout, data_format="channels_last", dtype=self.dtype_policy, name="drop"
        )

    def _check_sides(self, input_shape):
        """Raises ValueError where known sides do not fit; full resolution needs those of the first map."""
        height, width = input_shape[-3:-1]
        if self.map_size is not None and ((height, width) != self.map_size or None in self.map_size):
            expected = "a known height and width" if None in self.map_size else f"a map of {self.map_size}"
            raise ValueError(
                f"{self.name}: Expected {expected}, whose rows and columns full resolution has weights for. "
                f"Received shape {tuple(input_shape)}. Try: transform='block_based', with a `size` of that "
                "height and width for the same matrices."
            )
        rows = columns = 1
        if self.map_size is None and (self.spatial_groups or self.transform == "downsampling"):
            rows, columns = matrix_sides(self.size, self.matrix_size, (height, width))
        factors = (self.temporal_size if self.temporal_groups else 1, rows, columns)
        remedy = f"sides such as {2 * rows}, another `size` or matrix_size='fitted'; for frames "
        check_multiples(self, factors, input_shape, remedy + "another `temporal_size` or temporal_groups=0.")

    def _convolution(self, name, width, input_shape, norm_name=None):
        """Returns a built 1x1x1 convolution and its batch norm."""
        convolution = projection(self, width, name)
        norm = batch_norm(self, norm_name or f"{name}_norm")
        convolution.build(input_shape)
        norm.build((*input_shape[:-1], width))
        return convolution, norm

    def _matrix_maker(self, name, size, groups, context_width):
        """Returns a built convolution over `size` pooled positions, whose output is `groups` matrices."""
        maker = keras.layers.Conv1D(
            size * size * groups,
            size,
            data_format="channels_last",
            kernel_initializer=keras.initializers.get(keras.initializers.serialize(self.kernel_initializer)),
            dtype=self.dtype_policy,
            name=name,
        )
        maker.build((None, size, context_width))
        return maker

    def call(self, x, training=None):
        """Returns the map plus its transform."""
        self._check_sides(x.shape)
        u = self.narrow(x, training)  # [B, T, H, W, d]
        p, q, t = self.matrices(u, training)
        height, width = ops.shape(u)[2:4]
        if self.transform == "downsampling":
            u = shrink(u, *matrix_sides(self.size, self.matrix_size, (height, width)))  # [B, T, m, m', d]
        y = apply_matrices(u, p, q, t)
        y = ops.relu(self.mix_norm(self.mix(y), training=training))
        y = self.out(y)  # [B, T, ..., C]
        if self.transform == "downsampling":
            # The convolution comes first: it commutes with interpolation and is cheaper on m x m'.
            y = enlarge(y, height, width)
        y = self.drop(ops.relu(self.norm(y, training=training)), training=training)
        return x + (y if len(x.shape) == 5 else y[:, 0])

    def narrow(self, x, training=None):
        """Returns the map that is transformed, [B, T, H, W, d]; an image is a clip of one frame."""
        clip = x if len(x.shape) == 5 else x[:, None]
        return ops.relu(self.reduce_norm(self.reduce(clip), training=training))

    def matrices(self, u, training=None):
        """Returns P [B, T, k, m, m], Q and T [B, k_t, r, r] of a `narrow` map; None without groups."""
        if self.context is None:
            return None, None, None
        p = q = t = None
        context = ops.relu(self.context_norm(self.context(u), training=training))  # [B, T, H, W, C']
        if self.p is not None:
            rows, columns = self.map_size or matrix_sides(self.size, self.matrix_size, ops.shape(u)[2:4])
            p = self._spatial_logits(self.p, ops.max(context, axis=3), rows)
            q = self._spatial_logits(self.q, ops.max(context, axis=2), columns)
            p, q = normalise(p, -1, self.normalization), normalise(q, -2, self.normalization)
        if self.t is not None:
            size, groups = self.temporal_size, self.temporal_groups
            t = self.t(block_means(context, size))  # [B, 1, r*r*k_t]
            t = normalise(ops.reshape(t, (-1, groups, size, size)), -1, self.normalization)
        return p, q, t

    def _spatial_logits(self, maker, profiles, side):
        """Returns the logits of P or Q [B, T, k, side, side] from the profiles [B, T, L, k] of all frames."""
        batch, frames, length, context_width = shape_of(profiles)
        pooled = ops.reshape(profiles, (batch * frames, length, context_width))
        windows = maker(block_maxima(pooled, side))  # [B*T, O, s*s*k]
        size, groups = maker.kernel_size[0], self.spatial_groups
        windows = ops.reshape(windows, (batch * frames, side - size + 1, groups, size, size))
        logits = place_windows(at_least_float32(windows), side)  # [B*T, k, m, m]
        return ops.reshape(logits, (batch, frames, groups, side, side))

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return tuple(input_shape)

    def get_config(self):
        """Returns every argument of the constructor."""
        return {
            **super().get_config(),
            "transform": self.transform,
            "spatial_groups": self.spatial_groups,
            "temporal_groups": self.temporal_groups,
            "size": self.size,
            "temporal_size": self.temporal_size,
            "matrix_size": self.matrix_size,
            "normalization": self.normalization,
            "channels": self.channels,
            "context_channels": self.context_channels,
            "dropout": self.dropout,
            "frozen_batch_norm": self.frozen_batch_norm,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _check_matrix_size(layer, matrix_size, transform, size):
    if matrix_size is not None and transform == "full_resolution":
        raise ValueError(
            f"{layer.name}: Expected no `matrix_size` in full resolution, where it is the map's. "
            f"Received {matrix_size!r}. Try: matrix_size=None."
        )
    if matrix_size not in (None, "fitted"):
        check_sides(layer, "matrix_size", matrix_size, least=pair(size))
