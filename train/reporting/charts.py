"""Drawings of a page, as SVG: curves, and a confusion matrix. They take the page's colours."""

import math

from train.reporting.elements import element, joined, legible

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 360, 210, 46, 26, 8
_MOST_POINTS = 400  # Of a line; a screen shows no more.
_LONGEST_LABEL = 24


def line_chart(title, lines, epochs, form="{:g}"):
    """Returns a figure of curves by epoch.

    Args:
        title: Text.
        lines: {name: values}, at most three, in the order of the colours; a value that is not finite leaves
            a gap.
        epochs: The numbers of the epochs, rising.
        form: How a value is written.
    """
    values = [v for line in lines.values() for v in line if math.isfinite(v)]
    if not values:
        return joined()
    every = -(-len(epochs) // _MOST_POINTS)
    chosen = sorted({*range(0, len(epochs), every), len(epochs) - 1})
    ticks = _ticks(min(values), max(values))
    low, high, first, last = ticks[0], ticks[-1], epochs[0], epochs[-1]
    width, height = _WIDTH - _LEFT - _EDGE, _HEIGHT - _BOTTOM - _EDGE

    def x(epoch):
        return _LEFT + width * ((epoch - first) / (last - first) if last > first else 0.5)

    def y(value):
        return _EDGE + height * (high - value) / (high - low)

    parts = [_level(y(tick), form.format(tick)) for tick in ticks]
    steps = sorted({first, last, *(round(t) for t in _ticks(first, last) if first < t < last)})
    for epoch in steps:
        anchor = "end" if epoch == last > first else "middle"
        parts.append(element("text", epoch, x=f"{x(epoch):.1f}", y=_HEIGHT - 9, text_anchor=anchor))
    for kind, line in zip("abc", lines.values(), strict=False):
        points = [(x(epochs[i]), y(line[i])) if math.isfinite(line[i]) else None for i in chosen]
        parts += [_stroke(kind, run) for run in _runs(points)]
    keys = [
        _key(kind, name, line[-1], form) for kind, (name, line) in zip("abc", lines.items(), strict=False)
    ]
    described = "; ".join(_in_words(name, line, epochs, form) for name, line in lines.items())
    drawing = element(
        "svg",
        element("title", f"{title} by epoch"),
        element("desc", described),
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
    )
    return element("figure", element("h3", title), drawing, element("figcaption", *keys))


def _level(y, text):
    line = element("line", x1=_LEFT, x2=_WIDTH - _EDGE, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid")
    return joined(line, element("text", text, x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))


def _stroke(kind, run):
    """Returns a line through points, or a dot where there is only one."""
    if len(run) == 1:
        return element("circle", cx=f"{run[0][0]:.1f}", cy=f"{run[0][1]:.1f}", r=3, class_=f"line {kind}")
    return element("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in run), class_=f"line {kind}")


def _runs(points):
    """Returns the parts of a line between its gaps, which are None."""
    runs = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _key(kind, name, last, form):
    """Returns a piece of a line, with what it is and its last value."""
    stroke = element("line", x1=0, x2=26, y1=5, y2=5, class_=f"line {kind}")
    piece = element("svg", stroke, viewBox="0 0 26 10", class_="key", aria_hidden="true")
    return element(
        "span", piece, f"{name} {form.format(last) if math.isfinite(last) else ''}", class_="named"
    )


def _in_words(name, line, epochs, form):
    good = [(value, epoch) for value, epoch in zip(line, epochs, strict=True) if math.isfinite(value)]
    if not good:
        return f"{name}: no values"
    (least, at_least), (most, at_most) = min(good), max(good)
    return (
        f"{name}: {form.format(good[-1][0])} at the end, least {form.format(least)} in epoch {at_least}, "
        f"most {form.format(most)} in epoch {at_most}"
    )


def _ticks(low, high):
    """Returns round numbers, four to seven of them, that enclose a range.

    >>> _ticks(0.13, 0.97)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if span / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def confusion_chart(matrix, classes):
    """Returns a drawing of a confusion matrix, the true class in rows; shades are shares of a row.

    Args:
        matrix: int [K, K], counts of videos by true and by predicted class.
        classes: The K names.
    """
    count, side = len(classes), 34 if len(classes) <= 12 else 24 if len(classes) <= 24 else 16
    labels = [legible(name, _LONGEST_LABEL) for name in classes]
    longest = max(map(len, labels))
    left, top = 7 * longest + 12, 5.2 * longest + 16
    width, height = left + side * count + 5.2 * longest, top + side * count + 8
    parts, texts = [], []
    for row, name in enumerate(labels):
        middle = side * (row + 0.5) + 4
        texts.append(element("text", name, x=left - 6, y=f"{top + middle:.0f}", text_anchor="end"))
        at = f"translate({left + middle:.0f} {top - 6:.0f}) rotate(-45)"
        texts.append(element("text", name, transform=at))
        parts += _cells(matrix[row], row, labels, (left, top, side))
    parts.append(
        element(
            "rect",
            x=left,
            y=f"{top:.0f}",
            width=side * count,
            height=side * count,
            class_="line grid",
        )
    )
    right = sum(int(matrix[i][i]) for i in range(count))
    drawing = element(
        "svg",
        element("title", "Confusion matrix"),
        element("desc", f"{right} of {int(matrix.sum())} videos on the diagonal; rows are the true classes"),
        *parts,
        *texts,
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
    )
    return element("div", drawing, class_="wide", tabindex="0")


def _cells(counts, row, labels, place):
    """Returns the cells of a row that are not empty, with their counts where these can be read."""
    (left, top, side), total, made = place, max(1, int(counts.sum())), []
    for column, count in enumerate(counts.tolist()):
        if not count:
            continue
        x, y, share = left + side * column, top + side * row, count / total
        words = f"{labels[row]} taken for {labels[column]}: {count} of {total}"
        words = f"{labels[row]}: {count} of {total} right" if column == row else words
        cell = element(
            "rect",
            element("title", words),
            x=f"{x:.0f}",
            y=f"{y:.0f}",
            width=side,
            height=side,
            class_="share",
            fill_opacity=f"{0.08 + 0.92 * share:.2f}",
        )
        made.append(cell)
        if side > 20:
            shown = {"text_anchor": "middle", "x": f"{x + side / 2:.0f}", "y": f"{y + side / 2 + 4:.0f}"}
            made.append(element("text", count, class_="dense" if share > 0.7 else False, **shown))
    return made
