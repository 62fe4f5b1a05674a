"""The house: data walks one way through its rooms, no room leads back, and none is too large to be read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("keras_nonlocal", "pipelines", "savedmodels", "train")
# In the order of the data: a room imports from those before it.
ROOMS = {
    "pipelines": "bad_video whole_files decoding manifest clips augmenting order labels account video_files "
    "records dataset synthetic builders",
    "train": "config command_line origin network augmentation data scoring reporting loop planning recipes "
    "__main__ kinetics finetune evaluate predict browse convert preset profile demo",
    "savedmodels": "whole_directory loading signatures export freeze",
}
MOST_ROOMS, MOST_PROGRAMS, LONGEST_FILE, LONGEST_FUNCTION = 14, 10, 300, 50


def modules():
    """Returns {dotted name: path} of the four packages; a package has the name of its folder."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path, names):
    """Returns those of the modules `names` that a file imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in names else node.module)
    return found & set(names)


def graph():
    names = modules()
    return {name: imported(path, names) - {name} for name, path in names.items()}


def circle(arrows):
    """Returns a list of names that lead back to the first one, or nothing."""
    done, way = set(), []

    def follow(name):
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        way.append(name)
        found = next(filter(None, map(follow, sorted(arrows[name]))), [])
        if not found:
            done.add(way.pop())
        return found

    return next(filter(None, map(follow, sorted(arrows))), [])


def upward(arrows):
    """Returns the imports that lead from a room to one behind it."""
    found = []
    for package, text in ROOMS.items():
        rooms = text.split()
        for name, others in arrows.items():
            for other in others:
                if name.startswith(f"{package}.") and other.startswith(f"{package}."):
                    here, there = (rooms.index(module.split(".")[1]) for module in (name, other))
                    found += [f"{name} imports {other}"] * (here < there)
    return sorted(found)


def test_no_module_leads_back_to_itself():
    arrows = graph()
    assert sum(map(len, arrows.values())) > 150
    assert circle(arrows) == []


def test_no_module_imports_upwards():
    assert upward(graph()) == []


def test_no_module_imports_the_package_that_it_lies_in():
    inside = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if name.startswith(f"{other}.") and not name.endswith(".__main__")
    ]
    assert inside == []


def test_the_rooms_are_those_of_the_plan_and_not_too_many():
    for package, text in ROOMS.items():
        folder = ROOT / package
        found = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/*.py")
        }
        programs = {path.stem for path in folder.glob("*.py") if is_program(path)}
        assert found - {"__init__"} == set(text.split())
        assert len(found - {"__init__"} - programs) <= MOST_ROOMS and len(programs) <= MOST_PROGRAMS


def is_program(path):
    """Returns whether a person runs a file by its name, with `python -m`."""
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


def test_the_checks_see_a_circle_and_an_import_upwards():
    arrows = graph()
    arrows["pipelines.clips"].add("pipelines.dataset.training")
    assert upward(arrows) == ["pipelines.clips imports pipelines.dataset.training"]
    arrows["pipelines.dataset.training"].add("pipelines.clips")
    assert {"pipelines.clips", "pipelines.dataset.training"} <= set(circle(arrows))


def functions(path):
    """Yields (name, lines without the docstring) of all functions in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            has_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            text = first.end_lineno - first.lineno + 1 if has_text else 0
            yield node.name, node.end_lineno - node.lineno + 1 - text


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_can_be_read_at_once(package):
    too_long = []
    for path in sorted((ROOT / package).rglob("*.py")):
        place = path.relative_to(ROOT)
        length = len(path.read_text(encoding="utf-8").splitlines())
        too_long += [f"{place}: {length} lines"] * (length > LONGEST_FILE)
        too_long += [f"{place}: {name}, {n} lines" for name, n in functions(path) if n > LONGEST_FUNCTION]
    assert too_long == []
