"""What the blocks cost, and what they save compared with the plain equations.

python benchmarks/blocks.py [--repeats=7] [--only=WORD]

The program runs on the CPU and prints Markdown: the blocks on a map of res3 of an 8-frame clip; what the
library claims to save, in time by the median over rounds in which both sides take turns, after a check that
both give the same results; and what grows with the clip. --only keeps the rows that contain the word.
"""

import argparse
import importlib.util
import os
import time
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # resident memory does not include a GPU's memory

import keras
from claims import CLAIMS, GROWTHS, MAP
from measure import (
    PASSES,
    check_agreement,
    layer_program,
    median_gain,
    medians,
    multiply_adds,
    peaks,
    random,
    randomised,
    times_in_turns,
)

import keras_nonlocal
from keras_nonlocal.counting import count

# (equation in the paper's symbols, call that makes the block), with M keys and F, a depthwise convolution.
BLOCKS = [
    ("softmax(theta phi^T) g, keys pooled 1x2x2", "NonLocal()"),
    ("softmax(theta phi^T) g", "NonLocal(subsample=None)"),
    ("softmax(x x^T) g, keys pooled", 'NonLocal(pairwise="gaussian")'),
    ("theta phi^T g / M, keys pooled", 'NonLocal(pairwise="dot_product")'),
    ("ReLU(w_f [theta, phi]) g / M, keys pooled", 'NonLocal(pairwise="concatenation")'),
    ("softmax(theta phi^T) g in a frame, keys pooled", 'NonLocal(reach="space")'),
    ("softmax(theta phi^T) g along a pixel", 'NonLocal(reach="time")'),
    ("softmax(p p^T) u, u = W_g x, p = F(u)", "RegionNonLocal()"),
    ("p p^T u / M", 'RegionNonLocal(pairwise="dot_product")'),
    ("ReLU(cos(p, p)) u / M", 'RegionNonLocal(pairwise="cosine")'),
    ("softmax(p p^T) u, F an average", 'RegionNonLocal(region="average")'),
    ("theta (phi . g) in groups", "CompactGeneralizedNonLocal()"),
    ("sum_p c_p theta^p in groups", 'CompactGeneralizedNonLocal(pairwise="gaussian_rbf")'),
    ("T (P X Q), blocks moved", "BilinearAttentionTransform()"),
    ("P X Q, blocks moved", "BilinearAttentionTransform(temporal_groups=0)"),
    ("T (P X Q), at 7 x 7", 'BilinearAttentionTransform("downsampling")'),
    ("T (P X Q), H x H and W x W", 'BilinearAttentionTransform("full_resolution")'),
    ("x + W_2 ReLU(BN(W_1 mean(x)))", "SqueezeExcite()"),
    ("x sigmoid(W_2 ReLU(W_1 mean(x)))", 'SqueezeExcite(mode="multiply")'),
    ("x + W_v2 ReLU(LN(W_v1 softmax(W_k x) x))", "GlobalContext()"),
    ("channel gate, then position gate", "ConvBlockAttention()"),
    ("RegionNonLocal(SqueezeExcite(x))", "AttentionChain()"),
    ("F, one filter for each channel", "DepthwiseConv3D((3, 7, 7))"),
    ("x, C/8 channels from t + 1 and t - 1", "TemporalShift()"),
]
SIDES, PYTORCH = ("ours", "theirs"), "PyTorch"


def main(arguments=None):
    """Prints the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", metavar="WORD")
    options = parser.parse_args(arguments)
    start = time.perf_counter()

    def wanted(rows):
        return [row for row in rows if options.only.lower() in " ".join(map(str, row[:2])).lower()]

    if blocks := wanted(BLOCKS):
        print_blocks(blocks, options.repeats)
    if claims := wanted(CLAIMS):
        print_claims(claims, options.repeats)
    if growths := wanted(GROWTHS):
        print_growths(growths)
    print(
        f"{time.perf_counter() - start:.0f} s in all; load of the machine at the end {os.getloadavg()[0]:.1f}"
    )


def block_case(expression):
    """Returns the program of a block on a map of res3."""
    return {"ours": layer_program(randomised(make_block(expression), MAP), random(MAP, scale=0.3))}


def make_block(expression):
    """Returns the layer that the text of a call makes."""
    return eval(expression, {}, vars(keras_nonlocal))


def print_blocks(blocks, repeats):
    """Prints equation, arguments, parameters, milliseconds and megabytes of each block."""
    cases = [partial(block_case, expression) for _, expression in blocks]
    megabytes = [peak for peak, _ in peaks([(case, "ours", "with backward") for case in cases])]
    counted = ("parameters", "MAC M", "products M", "executed M")
    header = ("block", "equation", "arguments", *counted, "forward ms", "with backward ms", "peak MB")
    print_header(f"The blocks on {list(MAP)}", header)
    for (equation, expression), case, peak in zip(blocks, cases, megabytes, strict=True):
        name, _, call = expression.partition("(")
        runs = case()["ours"]
        times = [medians(times_in_turns([runs[what]], repeats))[0] for what in PASSES]
        print_row(
            f"`{name}`",
            equation,
            f"`{call[:-1]}`" if call != ")" else "",
            *costs(expression),
            *map(figure, [*times, peak]),
        )


def costs(expression, shape=None):
    """Returns parameters, MAC, products in the paper's order and all executed products, as text."""
    clip = keras.Input(shape or MAP[1:])
    total = count(keras.Model(clip, make_block(expression)(clip))).total
    return f"{total.parameters:,}", *(f"{n / 1e6:,.2f}" for n in (total.macs, total.products, total.executed))


def print_claims(claims, repeats):
    """Prints both sides' milliseconds and megabytes, and by what factor the other side needs more."""
    in_memory = [claim for claim in claims if PYTORCH not in claim.against]
    megabytes = iter(peaks([(claim.case, side, "with backward") for claim in in_memory for side in SIDES]))
    columns = ("forward ms", "gain", "with backward ms", "gain", "peak MB", "gain", "multiply-adds gain")
    columns = ("what", "against", *columns, "gain must be", "reached")
    print_header("Ours / theirs, and the gain, theirs over ours", columns)
    for claim in claims:
        peak = [next(megabytes)[0] for _ in SIDES] if claim in in_memory else None
        if PYTORCH in claim.against and importlib.util.find_spec("torch") is None:
            print_row(claim.what, f"{claim.against}: try pip install torch", *[""] * (len(columns) - 2))
            continue
        measured = measure_claim(claim, peak, repeats)
        cells = [
            cell for what in (*PASSES, "memory") for cell in map(figure, measured.get(what, (None, None)))
        ]
        gains = {what: gain for what, (_, gain) in measured.items()}
        least = ", ".join(f"{what} {figure(limit)}" for what, limit in claim.least.items())
        reached = all(gains[what] >= limit for what, limit in claim.least.items())
        count = figure(gains.get("multiply-adds"))
        print_row(claim.what, claim.against, *cells, count, least, "yes" if reached else "NO")


def measure_claim(claim, peak, repeats):
    """Returns {quantity: ((ours, theirs), gain)} after a check that both sides give the same results."""
    programs = claim.case()
    check_agreement(programs.values())
    measured = {}
    for what in PASSES:
        rounds = times_in_turns([programs[side][what] for side in SIDES], repeats)
        measured[what] = medians(rounds), median_gain(rounds)
    if peak:
        measured["memory"] = peak, peak[1] / peak[0]
        counts = [multiply_adds(programs[side]["forward"]) for side in SIDES]
        if None not in counts:
            measured["multiply-adds"] = counts, counts[1] / counts[0]
    return measured


def print_growths(growths):
    """Prints how much more time and memory twice the positions need, with backward."""
    jobs = [
        (partial(growth.case, size), "ours", "with backward") for growth in growths for size in growth.sizes
    ]
    results = iter(peaks(jobs, workers=1))  # one at a time, because they are timed as well
    header = (
        "what",
        "positions",
        "with backward ms",
        "growth",
        "peak MB",
        "growth",
        "must be at most",
        "reached",
    )
    print_header("Twice the positions", header)
    for growth in growths:
        peak, times = zip(next(results), next(results), strict=True)
        grown = {"time": times[1] / times[0], "memory": peak[1] / peak[0], "gigabytes": peak[1] / 1e3}
        most = ", ".join(f"{what} {figure(limit)}" for what, limit in growth.most.items())
        reached = all(grown[what] <= limit for what, limit in growth.most.items())
        pairs = list(map(figure, (growth.sizes, times, peak)))
        print_row(
            growth.what,
            *pairs[:2],
            figure(grown["time"]),
            pairs[2],
            figure(grown["memory"]),
            most,
            "yes" if reached else "NO",
        )


def figure(number):
    """Returns a figure with two or three significant digits; a pair with a slash; "" for None."""
    if number is None:
        return ""
    if isinstance(number, tuple | list):
        return " / ".join(map(figure, number))
    return f"{number:.0f}" if number >= 99.5 else f"{number:.1f}" if number >= 9.95 else f"{number:.2f}"


def print_header(title, names):
    """Prints a title and the head of a Markdown table."""
    print(f"\n{title}\n")
    print_row(*names)
    print_row(*["---"] * len(names))


def print_row(*cells):
    """Prints one row of a Markdown table."""
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
