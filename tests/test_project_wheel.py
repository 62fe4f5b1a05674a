"""The wheel: it holds the layers alone, and they work where the repository is not at hand."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import keras_nonlocal

ROOT = Path(__file__).parents[1]
# What the programs need and the layers do not.
PROGRAMS = ("tensorflow", "tensorflow_datasets", "av", "tqdm", "tensorboard", "tf2onnx", "onnxruntime")

# This imports every module of the package from the environment that it runs in. The paths given lend it
# third-party packages only: they come last, and .pth files, by which an editable install works, are not read
# from them. Keras itself needs a backend; once it is imported, no import of the packages given succeeds.
IMPORT_ALL = """
import importlib, importlib.util, json, pkgutil, sys
lenders, missing = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.path.extend(lenders)
import keras
sys.modules.update(dict.fromkeys(missing))
package = importlib.import_module("keras_nonlocal")
found = pkgutil.walk_packages(package.__path__, "keras_nonlocal.")
names = ["keras_nonlocal", *(module.name for module in found)]
files = {name: importlib.import_module(name).__file__ for name in names}
others = [name for name in ("pipelines", "train", "savedmodels") if importlib.util.find_spec(name)]
print(json.dumps([files, others, package.__version__]))
"""


def run(*command, **kwargs):
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **kwargs)
    assert process.returncode == 0, process.stderr
    return process.stdout


def make_environment(directory, wheel):
    """Returns the Python of a new environment that has the wheel and nothing else."""
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    (python,) = directory.glob("bin/python")
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel)
    return python


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Copy what git would commit: a build leaves files beside its sources."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    copy = tmp_path_factory.mktemp("sources")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--no-cache-dir", "--wheel-dir", directory)
    run(sys.executable, "-m", "pip", "wheel", *options, sources)
    (path,) = directory.iterdir()
    return path


@pytest.fixture
def metadata(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(file.read(name))


def test_wheel_holds_the_layers_and_nothing_else(sources, wheel):
    expected = {str(path.relative_to(sources)) for path in (sources / "keras_nonlocal").rglob("*.py")}
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    (metadata,) = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
    parts = ("METADATA", "WHEEL", "RECORD", "top_level.txt", "licenses/LICENSE")
    assert names == expected | {f"{metadata}/{part}" for part in parts}
    assert {"keras_nonlocal/__init__.py", "keras_nonlocal/checkpoints/__init__.py"} <= names


def test_wheel_requires_keras_and_numpy_alone(metadata):
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(re.match(r"[\w-]+", line)[0] for line in required) == ["keras", "numpy"]


@pytest.mark.parametrize("extra", ["beam", "bench", "dev"])
def test_an_environment_for_a_checkout_has_what_the_programs_need(metadata, extra):
    lines = [line for line in metadata.get_all("Requires-Dist") if line.endswith(f'extra == "{extra}"')]
    assert any(line.startswith("keras_nonlocal[programs]") for line in lines)
    lines = [line for line in metadata.get_all("Requires-Dist") if line.endswith('extra == "programs"')]
    required = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    assert required >= {*PROGRAMS, "absl_py"}


def test_version_is_that_of_the_package(metadata):
    assert metadata["Version"] == keras_nonlocal.__version__


def test_an_editable_install_finds_the_programs_from_any_directory(sources, tmp_path):
    command = "import sys, setuptools.build_meta as build; print(build.build_editable(sys.argv[1]))"
    output = run(sys.executable, "-c", command, tmp_path, cwd=sources)
    python = make_environment(tmp_path / "environment", tmp_path / output.splitlines()[-1])
    names = ("keras_nonlocal", "pipelines", "train", "savedmodels")
    command = (
        "import importlib.util as util, sys; print(*(util.find_spec(name).origin for name in sys.argv[1:]))"
    )
    found = run(python, "-I", "-c", command, *names, cwd=tmp_path).split()
    assert list(map(Path, found)) == [sources / name / "__init__.py" for name in names]


def test_installed_wheel_imports_without_the_repository_and_tensorflow(wheel, tmp_path):
    environment = tmp_path / "environment"
    python = make_environment(environment, wheel)
    lenders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    arguments = (json.dumps(lenders), json.dumps(PROGRAMS))
    output = run(python, "-I", "-c", IMPORT_ALL, *arguments, cwd=tmp_path, env=variables)
    files, others, version = json.loads(output.splitlines()[-1])
    with zipfile.ZipFile(wheel) as file:
        count = sum(name.endswith(".py") for name in file.namelist())
    assert len(files) == count
    assert [name for name, path in files.items() if not Path(path).is_relative_to(environment)] == []
    assert (others, version) == ([], keras_nonlocal.__version__)
