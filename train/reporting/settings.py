"""What a page says of settings, of versions, and of what to do next."""

import dataclasses
import platform
import shlex

import keras
import tensorflow as tf

import keras_nonlocal
from train.config import Config
from train.config.fields import as_flags
from train.reporting.elements import element, folded, joined, legible, named, table
from train.reporting.page import missing, section


def settings(config, problem=""):
    """Returns the flags of a `Config`, those that differ from the defaults first; None is a problem."""
    if config is None:
        return section("Settings", missing(f"The settings are not known. run.flags: {legible(problem)}"))
    changed, others = [], []
    for field in dataclasses.fields(Config):
        value = getattr(config, field.name)
        flags = element("code", *map(_flag, as_flags(field, value)))
        row = [flags, legible(field.metadata["help"])]
        (others if value == field.default else changed).append(row)
    return section(
        "Settings",
        table(["what differs from the defaults", "meaning"], changed),
        folded("All other flags", table(["as the defaults have it", "meaning"], others)),
    )


def _flag(text):
    """Returns a flag, whose line breaks nowhere before its value."""
    name, _, value = text.partition("=")
    return element("span", element("span", f"{name}=", class_="together"), named(value, 200), class_="flag")


def commands(workdir):
    """Returns the commands that go on from here, and the versions that wrote the page."""
    # A report may be sent to others, so the commands are for whoever stands in the checkout.
    workdir = legible(shlex.quote(workdir), 1000)
    further = {
        "Going on, if it was interrupted, or with more --epochs": f"train --flagfile={workdir}/run.flags",
        "Curves, clips and confusion matrices": f"tensorboard.main --logdir={workdir}/tensorboard",
        "Evaluating again": f"train.evaluate --workdir={workdir}",
        "Classifying a video": f"train.predict --video=FILE --workdir={workdir}",
        "Exporting for a server": f"savedmodels.export --workdir={workdir}",
        "Writing this page again": f"train.reporting --workdir={workdir}",
    }
    lines = "\n\n".join(f"# {what}\npython -m {command}" for what, command in further.items())
    return joined(section("What next", element("pre", lines)), versions())


def versions():
    """Returns the versions of what wrote the page."""
    found = {
        "keras_nonlocal": keras_nonlocal.__version__,
        "Keras": keras.__version__,
        "TensorFlow": tf.__version__,
        "Python": platform.python_version(),
    }
    words = ", ".join(f"{name} {version}" for name, version in found.items())
    return element("footer", element("p", f"Written with {words}.", class_="soft"))
