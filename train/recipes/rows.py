"""Reads the rows of the papers' tables from the flag files and from `elsewhere.csv`."""

import csv
import os
import re
from typing import NamedTuple

from train.config.flag_files import name_of, with_flag_files

_HERE = os.path.dirname(__file__)
FLAG_FILES = os.path.normpath(os.path.join(_HERE, "..", "flagfiles"))
PAPERS = {
    "nl": "Non-local Neural Networks (Wang et al. 2018)",
    "rnl": "Region-based Non-local (Huang and Bors 2020)",
    "cgnl": "Compact Generalized Non-local (Yue et al. 2018)",
    "bat": "Grouped Bilinear Attentional Transforms (Chi et al. 2020)",
    "sf": "PySlowFast's model zoo (Fan et al. 2020)",
}
_FACT = re.compile(r"# (published|data set|source|recipe|network|here|text and release): (.*)")
_NETWORK = re.compile(r"([\d.]+) M parameters; ([\d.]+) G multiply-adds(?:, and ([\d.]+) G of attention)?")
_BLOCK = re.compile(r"(?:[\w]+=)?(\w+)")


class Row(NamedTuple):
    """A published result.

    Attributes:
        name: Such as "nl.2a.gaussian": paper, table, variant.
        published: What the paper prints, in per cent, with its measure.
        data_set: Such as "kinetics400".
        source: Paper and table.
        recipe: The name of the settings in common with other rows, and the hardware; "" without a flag file.
        blocks: Names of the attention blocks; () in baselines and without a flag file.
        parameters, multiply_adds, attention: In millions and twice in G, for one training clip; None where
            there is no flag file. `attention` are the products of the blocks, in the paper's order.
        here: What came out of it here, or "not run".
        differs: What the paper's text and the released code do differently.
        path: The flag file, or "".
        instead: What stands in the place of a flag file, or "".
    """

    name: str
    published: str
    data_set: str
    source: str
    recipe: str = ""
    blocks: tuple = ()
    parameters: float | None = None
    multiply_adds: float | None = None
    attention: float | None = None
    here: str = ""
    differs: str = ""
    path: str = ""
    instead: str = ""

    @property
    def paper(self):
        """A key of `PAPERS`."""
        return self.name.partition(".")[0]


def read_rows(folder=FLAG_FILES):
    """Returns all `Row`s, those of a table one after the other, in the order of their names.

    Raises:
        ValueError: A flag file of a row lacks a fact.
    """
    found = [
        _with_flag_file(os.path.join(folder, paper, name))
        for paper in PAPERS
        for name in os.listdir(os.path.join(folder, paper))
        if name.endswith(".flags")
    ]
    with open(os.path.join(_HERE, "elsewhere.csv"), encoding="utf-8", newline="") as file:
        found += [Row(**line) for line in csv.DictReader(file)]
    papers = list(PAPERS)
    return sorted(found, key=lambda row: (papers.index(row.paper), natural(row.name)))


def natural(name):
    """Returns a key that sorts numbers within names by their size.

    Example:
        >>> sorted(["nl10", "nl5", "baseline"], key=natural)
        ['baseline', 'nl5', 'nl10']
    """
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]


def _with_flag_file(path):
    """Returns the `Row` of a flag file."""
    paper, name = path.split(os.sep)[-2], os.path.basename(path).removesuffix(".flags")
    facts = _facts(path)
    numbers = _NETWORK.match(facts.get("network", ""))
    missing = {"published", "data set", "source", "recipe", "here", "text and release"} - set(facts)
    if missing or not numbers:
        raise ValueError(
            f"Expected the facts of a row at the beginning of {path}. Received none of "
            f"{', '.join(sorted(missing or {'network'}))}. Try: a comment as in {paper}'s other flag files."
        )
    parameters, multiply_adds, attention = (float(number or 0) for number in numbers.groups())
    return Row(
        name=f"{paper}.{name}",
        published=facts["published"],
        data_set=facts["data set"],
        source=facts["source"],
        recipe=facts["recipe"],
        blocks=_blocks(path),
        parameters=parameters,
        multiply_adds=multiply_adds,
        attention=attention,
        here=facts["here"],
        differs=facts["text and release"],
        path=path,
    )


def _facts(path):
    """Returns {name: text} of the comments before the first flag; a line without a name goes on."""
    facts, name = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            if fact := _FACT.match(line.rstrip()):
                name, facts[fact[1]] = fact[1], fact[2]
            elif name:
                facts[name] += " " + line.lstrip("# ").rstrip()
    return facts


def _blocks(path):
    """Returns the names of a flag file's blocks, each once."""
    words = with_flag_files([f"--flagfile={path}"])
    if [word for word in words if name_of(word) == "blocks"][-1:] == ["--blocks="]:
        return ()
    texts = [word.partition("=")[2] for word in words if name_of(word) == "block"]
    return tuple(dict.fromkeys(_BLOCK.match(text)[1] for text in texts))
