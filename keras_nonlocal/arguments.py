"""Checks of constructor arguments that several layers take, and what their errors suggest."""

import difflib


def check_choice(layer, argument, value, choices):
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"{layer.name}: Expected `{argument}` to be one of {', '.join(map(repr, choices))}. "
            f"Received {value!r}. Try: {choices[0]!r}."
        )


def check_bottleneck(layer, channels):
    """Raises ValueError unless the bottleneck width is None or a positive int."""
    if channels is not None and (not isinstance(channels, int) or channels < 1):
        raise ValueError(
            f"{layer.name}: Expected `channels`, the bottleneck width, to be a positive int or None. "
            f"Received {channels!r}. Try: None, which means half of the input's channels."
        )


def bottleneck_width(layer, input_channels):
    """Returns the width `layer.channels`, or half of the input's where that is None."""
    if layer.channels is None and input_channels < 2:
        raise ValueError(
            f"{layer.name}: Expected at least 2 channels, to halve them. "
            f"Received {input_channels}. Try: channels=1."
        )
    return layer.channels or input_channels // 2


def check_count(layer, argument, value, least=1):
    """Raises ValueError unless `value` is an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{layer.name}: Expected `{argument}` to be an int of at least {least}. "
            f"Received {value!r}. Try: {argument}={least}."
        )


def check_sides(layer, argument, value, least=(1, 1)):
    """Raises ValueError unless `value` is an int, or a pair of ints, of at least those of `least`."""
    values = value if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
    for side, lowest in zip(values, least, strict=True):
        check_count(layer, argument, side, lowest)


def check_rate(layer, argument, value):
    """Raises ValueError unless `value` is a number of at least 0 and below 1."""
    if not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(
            f"{layer.name}: Expected `{argument}` to be a rate of at least 0 and below 1. "
            f"Received {value!r}. Try: {argument}=0.2."
        )


def check_divides(layer, argument, value, channels):
    """Raises ValueError unless `channels` can be cut into `value` equal groups."""
    if channels % value:
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        nearest = min(divisors, key=lambda d: abs(d - value))
        raise ValueError(
            f"{layer.name}: Expected `{argument}` to divide the {channels} channels that it groups. "
            f"Received {argument}={value}. Try: {argument}={nearest}."
        )


def check_gamma(layer, gamma):
    """Raises ValueError unless the width of the Gaussian RBF is a number above 0."""
    if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not gamma > 0:
        raise ValueError(
            f"{layer.name}: Expected `gamma`, the width of the Gaussian RBF, to be a number above 0. "
            f"Received {gamma!r}. Try: 1e-4, as in the authors' code."
        )


def closest(name, names):
    """Returns the entries of `names` that are close to `name`, quoted and joined by "or"; "" if none is."""
    return " or ".join(map(repr, difflib.get_close_matches(str(name), names)))
