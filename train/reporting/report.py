"""The report of a run: one page that needs nothing else."""

import os

from train.reporting import sections
from train.reporting.elements import element, legible
from train.reporting.examples import examples_section
from train.reporting.page import write_page
from train.reporting.run_files import read_run
from train.reporting.settings import commands, settings
from train.scoring.measures import confusion_matrix


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
    if run.scores is not None and not run.scores.multi_label:
        matrix = confusion_matrix(run.scores.logits, run.scores.labels)
    path = os.path.join(workdir, "report.html")
    name = legible(os.path.basename(os.path.abspath(workdir)), 80)
    write_page(
        path,
        f"Report of {name}",
        element(
            "main",
            sections.headline(run, matrix),
            sections.curves(run),
            sections.classes(run, matrix),
            examples_section(run),
            sections.skipped(run),
            settings(run.config, run.problems.get("run.flags", "")),
            commands(run.workdir),
        ),
    )
    return path
