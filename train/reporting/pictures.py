"""Pictures of PNG, JPEG and WebP: a confusion matrix, and clips as strips, with words."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from train.reporting.elements import legible

_MOST_NAMED = 40  # Classes; the names of more are not readable.
_MATRIX_PIXELS = 800  # The side of a matrix without names, about.
_LONGEST_LABEL = 24
_FONT_SIZE, _GAP = 14, 8
_LARGEST_FRAME, _MOST_FRAMES = 128, 16  # Of a strip.
_INK, _PAGE, _SHADE = (27, 31, 36), (255, 255, 255), (0, 96, 168)


def encoded(pixels, kind, **options):
    """Returns the file of a picture.

    Args:
        pixels: uint8 [H, W, 3].
        kind: "png", "jpeg" or "webp".
        options: As Pillow's `Image.save` takes them, such as `quality`.
    """
    return _file(Image.fromarray(np.ascontiguousarray(pixels)), kind, **options)


def confusion_picture(matrix, classes):
    """Returns a PNG of a confusion matrix: the true class in rows, the predicted one in columns.

    The shade of a cell is its share of the row, from white, 0, to blue, 1. Up to 40 classes have their names
    beside them; up to 12 have counts in the cells.

    Args:
        matrix: int [K, K], counts of videos.
        classes: The K names.
    """
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = np.array(_PAGE) + shares[..., None] * (np.array(_SHADE) - np.array(_PAGE))  # [K, K, 3]
    count = len(classes)
    if count > _MOST_NAMED:
        side = max(1, _MATRIX_PIXELS // count)
        return encoded(cells.round().astype(np.uint8).repeat(side, 0).repeat(side, 1), "png")
    font = ImageFont.load_default(_FONT_SIZE)
    names = [legible(name, _LONGEST_LABEL) for name in classes]
    side = 40 if count <= 12 else 22
    margin = round(max(font.getlength(name) for name in names)) + 2 * _GAP
    picture = Image.new("RGB", (margin + side * count + _GAP,) * 2, _PAGE)
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(names):
        middle = margin + side * row + side // 2
        draw.text((margin - _GAP, middle), name, _INK, font, anchor="rm")
        _write_upwards(picture, name, font, (middle, margin - _GAP))
        for column in range(count):
            x, y = margin + side * column, margin + side * row
            shade = tuple(cells[row, column].round().astype(int).tolist())
            draw.rectangle((x, y, x + side - 1, y + side - 1), shade, outline=(216, 222, 228))
            if count <= 12 and matrix[row, column]:
                ink = _PAGE if shares[row, column] > 0.8 else _INK
                draw.text((x + side // 2, y + side // 2), str(matrix[row, column]), ink, font, anchor="mm")
    return _file(picture, "png")


def clips_picture(clips, words):
    """Returns a PNG of clips, one below the other, each as a strip of its frames with words beneath.

    Args:
        clips: uint8 [N, T, H, W, 3]. Of more than 16 frames, 16 are shown, evenly spaced; frames that are
            larger than 128 pixels are scaled down.
        words: N texts, such as the names of the clips' classes.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    strips = [Image.fromarray(strip(clip)) for clip in clips]
    line, width = _FONT_SIZE + 2 * _GAP, max(240, *(picture.width for picture in strips))
    whole = Image.new("RGB", (width, sum(picture.height + line for picture in strips)), _PAGE)
    draw, y = ImageDraw.Draw(whole), 0
    for picture, text in zip(strips, words, strict=True):
        whole.paste(picture, (0, y))
        y += picture.height
        draw.text((0, y + _GAP // 2), _fitted(legible(text), font, width), _INK, font)
        y += line
    return _file(whole, "png")


def strip(clip, most=_MOST_FRAMES, largest=_LARGEST_FRAME):
    """Returns frames of a clip side by side, uint8 [H, T * W, 3], no more and no larger than said."""
    return np.concatenate(frames_of(clip, most, largest), axis=1)


def frames_of(clip, most, largest):
    """Returns at most `most` frames of a clip, evenly spaced, scaled down to `largest` pixels a side."""
    count = len(clip)
    chosen = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
    height, width = clip.shape[1:3]
    scale = min(1, largest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    frames = [Image.fromarray(np.ascontiguousarray(clip[number])) for number in chosen]
    if scale < 1:
        frames = [frame.resize(size, Image.Resampling.BOX) for frame in frames]
    return [np.asarray(frame) for frame in frames]


def _write_upwards(picture, text, font, place):
    """Writes a text from below to above; `place` is the middle of its lower end."""
    size = round(font.getlength(text)) + 1, _FONT_SIZE + 6
    line = Image.new("RGB", size, _PAGE)
    ImageDraw.Draw(line).text((0, size[1] // 2), text, _INK, font, anchor="lm")
    line = line.transpose(Image.Transpose.ROTATE_90)
    picture.paste(line, (place[0] - line.width // 2, place[1] - line.height))


def _fitted(text, font, width):
    """Returns a text, cut off where it is wider than the picture."""
    while text and font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…" if len(text) > 1 else ""
    return text


def _file(picture, kind, **options):
    content = io.BytesIO()
    picture.save(content, kind.upper(), **options)
    return content.getvalue()
