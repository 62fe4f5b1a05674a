"""Reads pages of HTML as a browser does, and says what would be wrong with any of them."""

import base64
import html.parser
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

_VOID = {"img", "input", "meta", "br"}


class Page(html.parser.HTMLParser):
    """A page that was read: its elements [(name, attributes)], its visible text, and its tables as texts."""

    def __init__(self, path):
        super().__init__()
        self.source = Path(path).read_text(encoding="utf-8")
        self.elements, self.tables, self._texts, self._open = [], [], [], []
        self.feed(self.source)
        assert self._open == []

    @property
    def text(self):
        """The text of the page, each run of white space as one space."""
        return " ".join("".join(self._texts).split())

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in _VOID:
            self._open.append(name)
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")
        elif name in ("p", "div", "dt", "dd", "li", "br", "h1", "h2", "h3", "pre", "title", "desc"):
            self._texts.append(" ")

    def handle_endtag(self, name):
        assert self._open.pop() == name  # Elements are nested.

    def handle_data(self, data):
        if "style" in self._open:
            return
        self._texts.append(data)
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data.replace("\N{NBSP}", " ")

    def named(self, name, **attributes):
        """Returns the attributes of the elements of a name that have those that are given."""
        return [of for kind, of in self.elements if kind == name and attributes.items() <= of.items()]

    def pictures(self):
        """Returns the pictures in the page, uint8 [H, W, 3], in their order."""
        sources = [of["src"].partition("base64,")[2] for of in self.named("img")]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(s))).convert("RGB")) for s in sources]


def complaints(page):
    """Returns what a page that loads nothing and runs nothing must not have."""
    found = [
        name for name, _ in page.elements if name in ("script", "iframe", "link", "object", "base", "form")
    ]
    for name, attributes in page.elements:
        for key, value in attributes.items():
            found += [f"{name} {key}"] * key.startswith("on")
            is_place = key in ("src", "href", "srcset", "action", "data", "xlink:href")
            found += [f"{name} {key}={value[:40]}"] * (is_place and not value.startswith("data:image/"))
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    found += re.findall(r"url\(|@import", style)
    invisible = [c for c in page.source if c != "\n" and not c.isprintable() and c != "\N{NBSP}"]
    return found + [f"invisible {c!r}" for c in invisible[:3]]
