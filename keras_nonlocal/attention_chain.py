"""AttentionChain: channels first, then regions, each with its own residual."""

import keras

from keras_nonlocal.positions import check_map
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.squeeze_excite import SqueezeExcite


@keras.saving.register_keras_serializable("keras_nonlocal")
class AttentionChain(keras.layers.Layer):
    """Channel attention followed by region-based attention.

    Huang and Bors, "Region-based Non-local Operation for Video Classification", ICPR 2020,
    arXiv 2007.09033, section III-D, with SE as in SqueezeExcite and RNL as in RegionNonLocal:

        z = RNL(SE(x))

    Shapes:
        [B, L, C], [B, H, W, C] or [B, T, H, W, C] -> the same, as long as both layers keep the
        shape; all but C may be unknown.

    Args:
        channel: the first layer; None means SqueezeExcite(name="channel").
        region: the second layer; None means RegionNonLocal(name="region").
            A layer that is given is used itself, not a copy of it: give each chain its own. It
            keeps its dtype policy and its name, and names are checkpoint keys.

    Call:
        training: is passed to both layers.

    Cost:
        That of the two layers.

    Differs:
        The authors' code has another channel gate instead of SE, and only in front of the first
        RNL block, in res3_0: AttentionChain(channel=GlobalContext(ratio=2, norm="batch",
        name="channel")). Its other four blocks are RegionNonLocal alone.

    Raises:
        ValueError: `channel` or `region` is no layer, or both are the same one; a rank other than
            3, 4, 5; unknown channels; a channels_first data format; and what the two layers raise.

    Example:
        >>> import math, keras
        >>> layer = AttentionChain()
        >>> layer(keras.Input((8, 28, 28, 512))).shape
        (None, 8, 28, 28, 512)
        >>> sum(math.prod(w.shape) for w in layer.trainable_weights)
        334944
    """

    def __init__(self, channel=None, region=None, **kwargs):
        super().__init__(**kwargs)
        if channel is None:
            channel = SqueezeExcite(dtype=self.dtype_policy, name="channel")
        if region is None:
            region = RegionNonLocal(dtype=self.dtype_policy, name="region")
        _check_layer(self, "channel", channel)
        _check_layer(self, "region", region)
        if channel is region:
            raise ValueError(
                f"{self.name}: Expected two layers with weights of their own. "
                f"Received {channel.name} as `channel` and as `region`. Try: a second layer."
            )
        self.channel = channel
        self.region = region

    def build(self, input_shape):
        """Builds both layers."""
        check_map(self, input_shape)
        for child in (self.channel, self.region):
            if not child.built:  # a layer that comes with trained weights keeps them
                child.build(input_shape)
            input_shape = child.compute_output_shape(input_shape)

    def call(self, x):
        """Applies one layer after the other."""
        return self.region(self.channel(x))  # Keras passes `training` on

    def compute_output_shape(self, input_shape):
        """Returns the second layer's output shape."""
        return self.region.compute_output_shape(self.channel.compute_output_shape(input_shape))

    def get_config(self):
        """Returns every argument of the constructor."""
        config = super().get_config()
        for argument, layer in (("channel", self.channel), ("region", self.region)):
            config[argument] = keras.saving.serialize_keras_object(layer)
            # `build` above builds both layers. If Keras built them first, the paths of their weights,
            # which are checkpoint keys, would lose this layer's name.
            config[argument].pop("build_config", None)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the chain that `get_config` describes."""
        names = ("channel", "region")
        layers = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in names
        }
        return cls(**config | layers)


def _check_layer(chain, argument, layer):
    if not isinstance(layer, keras.layers.Layer):
        raise ValueError(
            f"{chain.name}: Expected `{argument}` to be a keras.layers.Layer. "
            f"Received {layer!r}. Try: an instance, such as GlobalContext(), and not the class."
        )
