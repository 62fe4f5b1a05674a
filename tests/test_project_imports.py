"""Who may import whom: layers know no video files, pipelines no models, and nothing knows the trainer."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# keras_nonlocal stands on keras and numpy, which is why whatever may import it may import these too.
ALLOWED = {
    "keras_nonlocal": {"keras", "numpy"},
    "pipelines": {"tensorflow", "numpy", "av", "tqdm"},
    "savedmodels": {"keras_nonlocal", "tensorflow", "keras", "numpy"},
    "train": {"keras_nonlocal", "pipelines", "savedmodels", "absl", "tensorflow", "keras", "numpy", "tqdm"},
}
WITH_PROGRAMS = {"quiet_tensorflow"}  # For all packages but the layers; it imports nothing but Python's own.
# Beginnings of paths, and what may be imported there besides.
ALLOWED_THERE = {
    "keras_nonlocal/batch_norm.py": {"tensorflow"},
    "keras_nonlocal/explain/gradients.py": {"tensorflow", "jax", "torch"},
    "keras_nonlocal/presets.py": {"huggingface_hub", "kagglehub"},
    "pipelines/builders/": {"tensorflow_datasets"},
    "pipelines/records/prepare.py": {"apache_beam"},
    "train/reporting/pictures.py": {"PIL"},
}


def imports(path):
    """Yield (line, top-level name) of every absolute import in a file, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [node.args[0].value] if node.args and isinstance(node.args[0], ast.Constant) else []
        for name in names:
            yield node.lineno, name.split(".")[0]


def forbidden_imports(root, package):
    found = []
    for path in sorted((root / package).rglob("*.py")):
        place = path.relative_to(root).as_posix()
        there = [names for beginning, names in ALLOWED_THERE.items() if place.startswith(beginning)]
        mute = WITH_PROGRAMS if package != "keras_nonlocal" else ()
        allowed = ALLOWED[package].union({package}, sys.stdlib_module_names, mute, *there)
        found += [f"{place}:{line} imports {name}" for line, name in imports(path) if name not in allowed]
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_package_keeps_to_its_imports(package):
    assert len(list((ROOT / package).rglob("*.py"))) > 1
    assert forbidden_imports(ROOT, package) == []


def test_nothing_but_tests_and_its_benchmarks_imports_train():
    of_train = [ROOT / "benchmarks" / name for name in ("trainer.py", "checkpoints.py")]
    others = [path for path in ROOT.glob("*/*.py") if path.parent.name not in ("train", "tests")]
    others = [path for path in others if path not in of_train]
    assert len(others) > 10
    assert [str(path) for path in others if "train" in {name for _, name in imports(path)}] == []


@pytest.mark.parametrize(
    ("package", "line", "name"),
    [
        ("keras_nonlocal", "import tensorflow as tf", "tensorflow"),
        ("keras_nonlocal", "from pipelines.clips import SAMPLING", "pipelines"),
        ("pipelines", "def f():\n    from keras import ops", "keras"),
        ("pipelines", "import numpy, keras_nonlocal.resnet", "keras_nonlocal"),
        ("pipelines", "import tensorflow_datasets", "tensorflow_datasets"),
        ("savedmodels", "from train import config", "train"),
        ("savedmodels", 'importlib.import_module("pipelines.decoding.decode")', "pipelines"),
        ("train", "if True:\n    import scipy.ndimage", "scipy"),
    ],
)
def test_the_check_sees_a_forbidden_import(tmp_path, package, line, name):
    (tmp_path / package).mkdir()
    for path in (ROOT / package).glob("*.py"):
        shutil.copy(path, tmp_path / package)
    assert forbidden_imports(tmp_path, package) == []
    with open(tmp_path / package / "__init__.py", "a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    (found,) = forbidden_imports(tmp_path, package)
    assert found.endswith(f"imports {name}")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("keras_nonlocal", {"av", "pipelines", "train", "savedmodels"}),
        ("pipelines.synthetic", {"tensorflow", "keras", "train", "savedmodels"}),
    ],
)
def test_a_fresh_process_loads_no_more_than_it_needs(module, unwanted):
    command = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, check=True)
    loaded = set(json.loads(process.stdout.splitlines()[-1]))
    assert module in loaded
    assert loaded & unwanted == set()
