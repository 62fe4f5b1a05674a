"""The parts of a network, some of which a run may freeze, or train at a rate of their own."""

import math

from keras_nonlocal.architecture import STAGE_NAMES
from train.config.fields import Relation, nearest

KINDS = ("kernels", "regions", "biases", "norms", "block_gammas", "block_betas")
PARTS = ("stem", *STAGE_NAMES, "blocks", "fc")


def part_of(path):
    """Returns the part to which a layer or a variable belongs, by its path, or None.

    The attention blocks are a part of their own, not one of the stages in which they stand.

    Example:
        >>> [part_of(path) for path in ("stem_conv/kernel", "res3_0_norm1", "res3_0_block/g/kernel", "pool")]
        ['stem', 'res3', 'blocks', None]
    """
    name = path.partition("/")[0]
    part = "blocks" if name.endswith("_block") else name.partition("_")[0]
    return part if part in PARTS else None


def kind_of(path):
    """Returns which of `KINDS` a variable is, by its path.

    Regions are the kernels of F_theta, the depthwise convolution of `RegionNonLocal`; the gammas and betas of
    norms within attention blocks have kinds of their own.

    Example:
        >>> [kind_of(path) for path in ("fc/kernel", "fc/bias", "stem_norm/beta")]
        ['kernels', 'biases', 'norms']
        >>> [kind_of(f"res3_0_block/{path}") for path in ("g/kernel", "region/kernel", "norm/gamma")]
        ['kernels', 'regions', 'block_gammas']
    """
    layer, _, name = path.rpartition("/")
    is_block = part_of(path) == "blocks"
    if name in ("gamma", "beta"):
        return f"block_{name}s" if is_block else "norms"
    if name == "bias":
        return "biases"
    return "regions" if is_block and layer.endswith("/region") else "kernels"


def rates_of(texts):
    """Returns {part or kind: multiplier of the rate} of texts such as ("stem=0.1", "biases=2").

    Raises:
        ValueError: A text is no such pair, a name is unknown or stands there twice, or a number is not finite
            or not above 0.
    """
    pairs = [text.partition("=") for text in texts]
    rates = {name.strip(): float(number) for name, _, number in pairs}
    numbers_fit = all(0 < rate < math.inf for rate in rates.values())
    if len(rates) < len(pairs) or not (set(rates) <= {*PARTS, *KINDS} and numbers_fit):
        raise ValueError("parts and kinds, each once, with numbers above 0")
    return rates


def parts_in(config):
    """Returns the names of the parts that the network of a configuration has."""
    return [part for part in PARTS if part != "blocks" or config.blocks]


def _freezes(config):
    """Returns whether --freeze names parts of the network, each once, and leaves one."""
    distinct, names = set(config.freeze), parts_in(config)
    return len(distinct) == len(config.freeze) and distinct < set(names)


def _freezes_instead(config):
    names = parts_in(config)
    meant = dict.fromkeys(name if name in names else nearest(name, names) for name in config.freeze)
    known = [name for name in meant if name]
    return tuple(name for name in known if len(known) < len(names) or name != "fc")


def _with_rates(config):
    """Returns the parts that train, and all kinds, as a recipe also serves networks that lack some."""
    return [*(part for part in parts_in(config) if part not in config.freeze), *KINDS]


def _rates_fit(config):
    """Returns whether --rates are multipliers of what trains."""
    try:
        return set(rates_of(config.rates)) <= {*_with_rates(config)}
    except ValueError:
        return False


def _rates_instead(config):
    names, meant = _with_rates(config), {}
    for text in config.rates:
        name, _, number = text.partition("=")
        found = name if name in names else nearest(name, names)
        try:
            (rate,) = rates_of([f"fc={number}"]).values()
        except ValueError:
            rate = 0.1
        if found and name not in config.freeze:
            meant.setdefault(found, f"{found}={rate:g}")
    return tuple(meant.values())


# The constraints of --freeze and --rates, as for those in `train.config`.
RELATIONS = (
    Relation(
        "freeze",
        _freezes,
        f"some of {', '.join(PARTS)}, each once, but not all; blocks where --blocks has some",
        _freezes_instead,
    ),
    Relation(
        "rates",
        _rates_fit,
        f"NAME=NUMBER above 0, each once, for some of {', '.join(PARTS)} that train and {', '.join(KINDS)}",
        _rates_instead,
    ),
)
