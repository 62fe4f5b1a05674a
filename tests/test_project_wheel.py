"""The wheel: what is in it, and that it works where the repository is not at hand."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("keras_nonlocal", "pipelines", "train", "savedmodels")

# Imports every module from the environment it runs in; the paths given lend it third-party packages only:
# they come last, and .pth files, by which an editable install works, are not read from them.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
packages, lenders = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.path.extend(lenders)
files = {}
for package in map(importlib.import_module, packages):
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    for name in [package.__name__, *(module.name for module in found)]:
        files[name] = importlib.import_module(name).__file__
print(json.dumps(files))
"""


def run(*command, **kwargs):
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **kwargs)
    assert process.returncode == 0, process.stderr
    return process.stdout


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


def test_wheel_holds_the_packages_and_nothing_else(sources, wheel):
    expected = {
        str(path.relative_to(sources)) for name in PACKAGES for path in (sources / name).rglob("*.py")
    }
    expected |= {f"train/flagfiles/{path.name}" for path in (sources / "train/flagfiles").glob("*.flags")}
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    (metadata,) = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
    parts = ("METADATA", "WHEEL", "RECORD", "top_level.txt", "licenses/LICENSE")
    assert names == expected | {f"{metadata}/{part}" for part in parts}
    assert {"train/flagfiles/demo.flags", "keras_nonlocal/__init__.py"} <= names


def test_installed_wheel_imports_without_the_repository(wheel, tmp_path):
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    (python,) = environment.glob("bin/python")
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel)

    lenders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    arguments = (json.dumps(PACKAGES), json.dumps(lenders))
    output = run(python, "-I", "-c", IMPORT_ALL, *arguments, cwd=tmp_path, env=variables)
    files = json.loads(output.splitlines()[-1])
    with zipfile.ZipFile(wheel) as file:
        count = sum(name.endswith(".py") for name in file.namelist())
    assert len(files) == count
    assert [name for name, path in files.items() if not Path(path).is_relative_to(environment)] == []
