"""The frame of a page: one file that loads nothing and runs nothing, for any screen, light or dark."""

import os

from pipelines.whole_files import whole_file
from train.reporting.elements import Markup, element, joined

# A browser that reads this loads nothing from elsewhere and runs no script, whatever may be in the page.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = os.path.join(os.path.dirname(__file__), "page.css")


def write_page(path, title, *children):
    """Writes a page, whole or not at all; `title` is a text, and children are as for `element`."""
    with open(_STYLE, encoding="utf-8") as file:
        style = Markup(file.read())
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    page = element("html", element("head", head), element("body", *children), lang="en")
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(f"<!doctype html>\n{page}\n")


def section(heading, *children):
    """Returns a section of a page."""
    return element("section", element("h2", heading), *children)


def missing(text):
    """Returns the words for something that a page would have if it were there."""
    return element("p", text, class_="missing")


def facts(*items):
    """Returns a row of (name, value, remark) triples, the value large and the remark small."""
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value), element("dd", remark or "\N{NBSP}"))
            for name, value, remark in items
        ),
        class_="facts",
    )
