"""The documents: their examples run, their commands exist, their links lead somewhere."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.manifest.annotations import FORMATS

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^\s)>]+)|(?:src|href|srcset)=\"([^\"\s]+)")
ELSEWHERE = ("https://", "http://", "mailto:", "#")
MACHINE_PATH = re.compile(rb"(?<![\w./~}$-])/(?:home|root|work|Users|mnt|scratch|srv|data\d*)/[\w.]")
REGISTRY = re.compile(rb"(?:pypi\.org|pythonhosted\.org|anaconda\.org|npmjs\.org|--(?:extra-)?index-url)")


def tracked_files():
    """Returns the paths of what git holds or would take in."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in filter(None, listed.split("\0")) if (ROOT / name).is_file()]


def blocks(text, *languages):
    return [match[3] for match in FENCE.finditer(text) if match[2] in languages]


def commands(text):
    """Returns the command lines of console blocks (after their $) and of shell blocks, as lists of words."""
    found = []
    for block in blocks(text, "console"):
        block = block.replace("\\\n", " ")
        found += [line.strip()[2:] for line in block.splitlines() if line.strip().startswith("$ ")]
    for block in blocks(text, "sh", "bash", "shell"):
        found += block.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in found]
    return [[word for word in line if not re.match(r"[A-Z_]+=", word)] for line in words if line]


def program_of(module):
    """Returns the file that `python -m` runs."""
    path = ROOT / Path(*module.split("."))
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def flags_of(module):
    """Returns the flags that a program of this project defines, read from its source."""
    program = program_of(module)
    files = program.parent.glob("*.py") if program.name == "__main__.py" else [program]
    if module == "train":  # The other files there are programs with flags of their own.
        files = [program]
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    names = {"help", *re.findall(r'\badd(?:_argument)?\(\s*"--([\w-]+)"', source)}
    if re.search(r"^from absl import.*\bapp\b", source, re.MULTILINE):
        names |= {"flagfile", *re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source)}
    if "FORMATS" in source:
        names |= {name for form in FORMATS.values() for name in form.flags}
    if "define_flags(" in source:
        trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "train/config").glob("*.py")]
        classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
        mixins = [node for node in classes if node.name.endswith("Fields")]
        fields = [node for mixin in mixins for node in mixin.body if isinstance(node, ast.AnnAssign)]
        names |= {field.target.id for field in fields}
        names |= {f"no{field.target.id}" for field in fields if ast.unparse(field.annotation) == "bool"}
    return names


def complaints(words):
    """Returns what is wrong with one command; commands of other programs than make and Python pass."""
    program, *arguments = words
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in arguments if not word.startswith("-")]
        return [f"no target {t}" for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)]
    if not re.fullmatch(r"python[\d.]*", os.path.basename(program)) or not arguments:
        return []
    if arguments[0] != "-m":
        scripts = [word for word in arguments[:1] if word.endswith(".py")]
        return [f"no script {script}" for script in scripts if not (ROOT / script).is_file()]
    module = arguments[1]
    if not (ROOT / module.split(".")[0]).is_dir():
        return [] if importlib.util.find_spec(module.split(".")[0]) else [f"no module {module}"]
    if not program_of(module).is_file():
        return [f"no module {module}"]
    if module == "pipelines.builders":
        return []  # Its flags are those of TFDS.
    ours = arguments[2 : arguments.index("--beam") + 1] if "--beam" in arguments else arguments[2:]
    given = [re.fullmatch(r"--?([\w-]+)(?:=(.*))?", word) for word in ours]
    wrong = [f"no flag --{m[1]} of {module}" for m in given if m and m[1] not in flags_of(module)]
    files = [m[2] for m in given if m and m[1] == "flagfile"]
    files = [file for file in files if not file.endswith("/run.flags")]  # A run writes it.
    return wrong + [f"no file {file}" for file in files if not (ROOT / file).is_file()]


def dead_links(path, text, existing):
    """Return the relative targets in a document at `path` that are not among the `existing` files."""
    prose = FENCE.sub("", text)
    targets = [link or picture for link, picture in LINK.findall(prose)]
    targets = [target.split("#")[0] for target in targets if not target.startswith(ELSEWHERE)]
    folders = {folder for file in existing for folder in file.parents}
    places = [Path(os.path.normpath(path.parent / target)) for target in targets]
    return [str(place) for place in places if place not in existing and place not in folders]


def test_python_blocks_of_the_readme_run(tmp_path):
    examples = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python", "py")
    assert examples, "README.md shows no Python"
    script = "\n".join(examples)  # One process and one namespace: a block may go on from the one before it.
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr


def test_commands_in_documents_exist():
    wrong, count = {}, 0
    for path in tracked_files():
        if path.suffix == ".md":
            for words in commands(path.read_text(encoding="utf-8")):
                count += 1
                wrong |= {f"{path.name}: {' '.join(words)}": found for found in [complaints(words)] if found}
    assert wrong == {}
    assert count > 0


def test_relative_links_and_pictures_exist():
    existing = set(tracked_files())
    documents = [path for path in existing if path.suffix == ".md"]
    assert ROOT / "README.md" in documents
    dead = {path.name: dead_links(path, path.read_text(encoding="utf-8"), existing) for path in documents}
    assert {name: links for name, links in dead.items() if links} == {}


def test_no_file_names_a_machine_path_or_a_package_registry():
    found = {}
    for path in tracked_files():
        content = path.read_bytes()
        matches = [m[0] for pattern in (MACHINE_PATH, REGISTRY) for m in pattern.finditer(content)]
        if matches:
            found[str(path.relative_to(ROOT))] = matches
    assert found == {}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("make demo PYTHON=python3.12", None),
        ("make coffee", "no target coffee"),
        (".venv/bin/python -m pipelines.synthetic --output=DIR --level hard", None),
        ("python -m pipelines.synthetic --outptu=DIR", "no flag --outptu of pipelines.synthetic"),
        ("python -m train.kinetics --flagfile=train/flagfiles/demo.flags --epochs=1 --noflip", None),
        (
            "python -m train.kinetics --flagfile=train/flagfiles/none.flags",
            "no file train/flagfiles/none.flags",
        ),
        ("python -m train.kinetics --flagfile=runs/mine/run.flags", None),
        ("python -m train.kinetics --epoch=1", "no flag --epoch of train.kinetics"),
        ("python -m train --epochs=1 --noflip", None),
        ("python -m train --video=FILE", "no flag --video of train"),
        ("python -m train.kinetiks", "no module train.kinetiks"),
        ("python -m tensorboard.main --logdir=DIR", None),
        ("python -m tensorbord.main", "no module tensorbord.main"),
        ("python3 benchmarks/none.py", "no script benchmarks/none.py"),
    ],
)
def test_the_command_check_sees_what_does_not_exist(line, complaint):
    for text in (f"```console\n$ TF_CPP_MIN_LOG_LEVEL=2 {line}\nits output\n```\n", f"```sh\n{line}\n```\n"):
        (words,) = commands(text)
        assert complaints(words) == ([complaint] if complaint else [])


def test_the_link_check_sees_what_does_not_exist():
    text = '[a](b.md#part) ![c](d/e.svg) <img src="f.svg"> [g](https://h.org/i) [j](#k) [l](d)\n'
    existing = {Path("/repository") / name for name in ("b.md", "d/other.svg")}
    dead = dead_links(Path("/repository/README.md"), text, existing)
    assert dead == ["/repository/d/e.svg", "/repository/f.svg"]


def test_the_path_check_sees_machine_paths_and_registries():
    for folder in ("home", "root", "work"):  # Put together here, so that this file passes its own check.
        assert MACHINE_PATH.search(f"in /{folder}/me".encode())
        assert MACHINE_PATH.search(f"--data_dir=/{folder}/data".encode())
        assert not MACHINE_PATH.search(
            f"https://h.org/{folder}/x runs/{folder}/x {{data}}/{folder}/x".encode()
        )
    assert REGISTRY.search(f"https://{'.'.join(('pypi', 'org'))}/simple".encode())
