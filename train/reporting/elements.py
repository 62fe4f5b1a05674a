"""Elements of a page of HTML. All text is escaped here, as names of classes and files may be anybody's."""

import base64
import html
import os
import unicodedata

_VOID = ("img", "input", "meta", "br")  # Elements that have no end.


class Markup(str):
    """HTML in which all that needs it is escaped already."""


def legible(text, most=300):
    """Returns the first characters of a text, in which those that nobody sees are written as escapes.

    Halves of characters, which a file's name may hold, become escapes, too, so that the text can be written.

    Example:
        >>> legible("red\\x1b[31m \\u202e left", most=20)
        'red\\\\x1b[31m \\\\u202e left'
        >>> legible("Kopfstand", most=5)
        'Kopf…'
    """
    text = str(text)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(ascii(c)[1:-1] if unicodedata.category(c)[0] == "C" else c for c in text)


def element(name, /, *children, **attributes):
    """Returns an element as `Markup`.

    Args:
        name: Its name.
        children: `Markup`, or anything else, whose text is escaped.
        attributes: Their values, whose text is escaped. An underscore stands for a hyphen, and one at the end
            for nothing, as in `class_`. False leaves an attribute out; True gives it no value.

    Example:
        >>> element("td", "a < b", element("br"), class_="number", hidden=True)
        '<td class="number" hidden>a &lt; b<br></td>'
    """
    given = []
    for key, value in attributes.items():
        key = key.removesuffix("_").replace("_", "-")
        if value is not False:
            given.append(f" {key}" if value is True else f' {key}="{_escaped(value)}"')
    opened = f"<{name}{''.join(given)}>"
    return Markup(opened if name in _VOID else f"{opened}{joined(*children)}</{name}>")


def joined(*children):
    """Returns children one after the other, as `element` takes them."""
    return Markup("".join(c if isinstance(c, Markup) else _escaped(c) for c in children))


def _escaped(text):
    return html.escape(str(text).encode("utf-8", "backslashreplace").decode())


def named(name, most=48):
    """Returns the name of a class or a file, cut off if it is long; a pointer on it then shows more of it."""
    short, longer = legible(name, most), legible(name)
    return Markup(_escaped(short)) if short == longer else element("span", short, title=longer)


def path_within(path, folder):
    """Returns a path as it counts from a folder, if that is where it is."""
    return path.removeprefix(os.path.join(folder, ""))


def table(headings, rows, numbers=()):
    """Returns a table that scrolls by itself where it is wider than the page.

    Args:
        headings: Texts.
        rows: Lists of as many cells, `Markup` or texts; the first of them is the row's heading.
        numbers: The columns whose cells stand to the right.
    """
    kind = ["number" if column in numbers else False for column in range(len(headings))]
    head = [element("th", text, scope="col", class_=kind[i]) for i, text in enumerate(headings)]
    body = []
    for row in rows:
        cells = [element("td", cell, class_=kind[i]) for i, cell in enumerate(row)]
        cells[0] = element("th", row[0], scope="row", class_=kind[0])
        body.append(element("tr", *cells))
    inner = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", inner, class_="wide", tabindex="0")


def folded(summary, *children, is_open=False):
    """Returns children that a reader unfolds."""
    return element("details", element("summary", summary), *children, open=is_open)


def picture(content, kind, alt, /, **attributes):
    """Returns a picture whose file is in the page; `kind` is its format, such as "png"."""
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return element("img", src=source, alt=alt, **attributes)


def percent(value):
    """Returns a fraction as text, in which no line ends.

    >>> percent(0.98765)
    '98.8\\xa0%'
    """
    return f"{value:.1%}".replace("%", "\N{NBSP}%")
