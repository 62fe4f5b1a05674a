"""Runs the examples of every module's docstrings."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("keras_nonlocal", "pipelines", "train", "savedmodels")


def modules():
    for package in map(importlib.import_module, PACKAGES):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith(".__main__"):
                yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_layers_have_examples():
    import keras_nonlocal

    for name in keras_nonlocal.__all__:
        examples = doctest.DocTestFinder().find(getattr(keras_nonlocal, name), name)
        assert sum(len(found.examples) for found in examples) > 0, name
