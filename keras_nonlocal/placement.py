"""Where blocks go: the papers' places by name, and places and blocks that are described in text."""

import ast
import functools
import re

from keras_nonlocal.arguments import closest
from keras_nonlocal.attention_chain import AttentionChain
from keras_nonlocal.bilinear_transform import BilinearAttentionTransform
from keras_nonlocal.compact_generalized import CompactGeneralizedNonLocal
from keras_nonlocal.conv_block_attention import ConvBlockAttention
from keras_nonlocal.global_context import GlobalContext
from keras_nonlocal.non_local import NonLocal
from keras_nonlocal.region_non_local import RegionNonLocal
from keras_nonlocal.squeeze_excite import SqueezeExcite

# Name -> depth -> stage -> 0-based residual blocks after which a block stands.
PLACEMENTS = {
    # Every other residual block of res3 and res4: Wang et al. 2018, section 4.1. Depths 50 and 101 as in
    # its code and in that of BAT (Chi et al. 2020), which has 152 too.
    "nl5": {
        50: {"res3": (1, 3), "res4": (1, 3, 5)},
        101: {"res3": (1, 3), "res4": (6, 13, 20)},
        152: {"res3": (3, 7), "res4": (11, 23, 35)},
    },
    # TSM's code for its NL-5 (Lin et al. 2019), and RNL-5 and [SE+RNL]-5 after it (Huang and Bors 2020).
    "tsm_nl5": {50: {"res3": (0, 2), "res4": (0, 2, 4)}},
    # Every residual block of res3 and res4: Wang et al. 2018, section 4.1.
    "nl10": {50: {"res3": (0, 1, 2, 3), "res4": (0, 1, 2, 3, 4, 5)}},
    # Before the last residual block of res4: Wang et al. 2018, table 2a; CGNL's code (Yue et al. 2018).
    "nl1": {50: {"res4": (4,)}, 101: {"res4": (21,)}, 152: {"res4": (34,)}},
    # Before the last residual block of each stage: Wang et al. 2018, table 2b.
    "nl1_res2": {50: {"res2": (1,)}},
    "nl1_res3": {50: {"res3": (2,)}},
    "nl1_res4": {50: {"res4": (4,)}},
    "nl1_res5": {50: {"res5": (1,)}},
    # layer2.1 and layer3.1 of BAT's image code.
    "bat_resnet18": {18: {"res3": (1,), "res4": (1,)}},
}

BLOCKS = {
    "NonLocal": NonLocal,
    "RegionNonLocal": RegionNonLocal,
    "CompactGeneralizedNonLocal": CompactGeneralizedNonLocal,
    # As in the released video code: it takes the maps of 224 pixels in training and of 256 in tests.
    "BilinearAttentionTransform": functools.partial(
        BilinearAttentionTransform, normalization="softmax", matrix_size="fitted"
    ),
    "SqueezeExcite": SqueezeExcite,
    "AttentionChain": AttentionChain,
    "GlobalContext": GlobalContext,
    "ConvBlockAttention": ConvBlockAttention,
}

_PLACE = re.compile(r"(res[2-5])_(0|[1-9]\d*)")
_TARGET = re.compile(r"res[2-5](_(0|[1-9]\d*))?")
_DESCRIPTION = re.compile(r"(?:(\w+)\s*=)?\s*(.*)", re.DOTALL)


def placement(name, depth):
    """Return where a paper puts its blocks.

    Args:
        name: of `PLACEMENTS`.
        depth: of the ResNet.

    Returns:
        {"res3": (1, 3), ...}: stage -> 0-based residual blocks after which a block stands.

    Raises:
        ValueError: an unknown name, or a depth for which no paper and no code says where.

    Example:
        >>> placement("nl5", 101)
        {'res3': (1, 3), 'res4': (6, 13, 20)}
    """
    if name not in PLACEMENTS:
        raise ValueError(
            f"Expected a placement among {', '.join(PLACEMENTS)}. Received {name!r}. "
            f"Try {closest(name, PLACEMENTS) or repr('nl5')}, or the places themselves."
        )
    if depth not in PLACEMENTS[name]:
        depths = tuple(PLACEMENTS[name])
        raise ValueError(
            f"Expected a depth for which placement {name!r} is published, {' or '.join(map(str, depths))}. "
            f"Received {depth!r}. Try depth={depths[0]}, or the places themselves."
        )
    return dict(PLACEMENTS[name][depth])


def blocks_from_text(places, blocks, depth):
    """Return blocks that were described in text as `VideoResNet` takes them.

    A block is a name of `BLOCKS`, with keyword arguments in brackets where they are not the
    defaults: Python literals, or blocks again, which are named as their argument unless `name` is
    given. "res4=..." describes the blocks of a stage and "res4_0=..." that of a place; the more
    specific description wins.

    Args:
        places: strings: residual blocks, 0-based, such as ("res3_0", "res3_2"), or a single name
            of `PLACEMENTS`.
        blocks: strings, such as ("NonLocal(scaled=True)", "res4=RegionNonLocal").
        depth: of the ResNet; a placement differs between depths.

    Returns:
        {"res3": {0: make, 2: make}, ...}; make(name="res3_0_block") builds new layers each time.
        {} where there are no places.

    Raises:
        ValueError: text that is no such place or block, arguments that a block refuses, the same
            place twice, two descriptions for the same, one that no place uses, a place without
            one; what `placement` raises.

    Example:
        >>> makers = blocks_from_text(("res3_0", "res4_2"), ("NonLocal", "res4=GlobalContext(ratio=4)"), 50)
        >>> makers["res3"][0](name="first").name, makers["res4"][2](name="second").ratio
        ('first', 4)
    """
    makers = {}
    for text in blocks:
        target, maker = _described(text)
        if target in makers:
            raise ValueError(
                f"Expected one block for {target or 'all places'} in `blocks`. "
                f"Received {text!r} as a second one. Try one of them, or a place such as res3_0=..."
            )
        makers[target] = maker
    used, found = set(), {}
    for stage, index in _places(places, depth):
        targets = [t for t in (f"{stage}_{index}", stage, None) if t in makers]
        if not targets:
            raise ValueError(
                f"Expected a block for {stage}_{index} in `blocks`. Received {tuple(blocks)!r}. "
                "Try a block without a target, such as 'RegionNonLocal', which is for all others."
            )
        used.add(targets[0])
        found.setdefault(stage, {})[index] = makers[targets[0]]
    unused = [target or "all others" for target in makers if target not in used]
    if found and unused:
        raise ValueError(
            f"Expected every block of `blocks` to have a place. Received one for {' and for '.join(unused)}, "
            f"which none of the places {tuple(places)!r} uses. Try leaving it out."
        )
    return found


def _places(places, depth):
    """The (stage, index) pairs that `places` means."""
    if len(places) == 1 and not _PLACE.fullmatch(places[0]):
        return [(stage, i) for stage, indices in placement(places[0], depth).items() for i in indices]
    wrong = [place for place in places if not _PLACE.fullmatch(place) or places.count(place) > 1]
    if wrong:
        raise ValueError(
            "Expected `places` to be residual blocks, each once, or one placement among "
            f"{', '.join(PLACEMENTS)}. Received {wrong[0]!r} in {tuple(places)!r}. Try res3_0, res3_2."
        )
    return [(match[1], int(match[2])) for match in map(_PLACE.fullmatch, places)]


def _described(text):
    """Return (target or None, maker) of a description, made once on trial: what a layer refuses comes out."""
    target, block = _DESCRIPTION.fullmatch(text.strip()).groups()
    try:
        if target is not None and not _TARGET.fullmatch(target):
            raise ValueError(f"{target} is no stage, as res3 is, and no place, as res3_0 is")
        node = ast.parse(block, mode="eval").body
        if any(keyword.arg == "name" for keyword in getattr(node, "keywords", ())):
            raise ValueError("the name comes from the place")
        _build(node, name="block")
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            "Expected a block such as NonLocal or res4=RegionNonLocal(kernel_size=(3, 3, 3)), one of "
            f"{', '.join(BLOCKS)}. Received {text!r}. Try another in view of this: {error}"
        ) from None
    return target, functools.partial(_build, node)


def _build(node, name):
    """Build the layer that a syntax tree describes; nothing but `BLOCKS` can be called."""
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name) or called.id not in BLOCKS:
        raise ValueError(f"{ast.unparse(called)} is no block")
    keywords = node.keywords if isinstance(node, ast.Call) else []
    names = [keyword.arg for keyword in keywords]
    if getattr(node, "args", None) or None in names or len(set(names)) < len(names):
        raise ValueError(f"{ast.unparse(node)} has arguments that are not keywords, each once")
    return BLOCKS[called.id](**{"name": name} | {k.arg: _argument(k.value, k.arg) for k in keywords})


def _argument(node, name):
    if isinstance(node, ast.Name | ast.Call):
        return _build(node, name)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{name}={ast.unparse(node)} is neither a literal nor a block") from None
