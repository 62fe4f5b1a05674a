"""The report of a run: one page that needs nothing else."""

import os

import numpy as np

from train.reporting import sections
from train.reporting.elements import element, legible
from train.reporting.examples import examples_section
from train.reporting.page import write_page
from train.reporting.run_files import read_run


def write_report(workdir):
    """Writes `report.html` of a run, from the files that are in its directory.

    What is missing or damaged is named on the page. All texts are escaped, and the page runs nothing.

    Args:
        workdir: The directory of a run, finished or not.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: There is no such directory.
        OSError: The page cannot be written.
    """
    workdir = os.fspath(workdir)
    run = read_run(workdir)
    matrix = None
    if run.scores is not None:
        matrix = confusion_matrix(
            run.scores.labels, run.scores.logits.argmax(axis=1), len(run.scores.classes)
        )
    path = os.path.join(workdir, "report.html")
    name = legible(os.path.basename(os.path.abspath(workdir)), 80)
    write_page(
        path,
        f"Report of {name}",
        element(
            "main",
            sections.headline(run, matrix),
            sections.curves(run),
            examples_section(run),
            sections.classes(run, matrix),
            sections.skipped(run),
            sections.settings(run.config, run.problems.get("run.flags", "")),
            sections.commands(run),
        ),
    )
    return path


def confusion_matrix(labels, predicted, count):
    """Returns int [count, count]: how many videos of each class (rows) were given each class (columns)."""
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix
