"""Who may import whom: imports go down the layers, never up, and nothing that is not shipped."""

import ast
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.builders import ROOT

FLOORS = (
    ("errors",),
    ("delta",),
    ("contract",),
    ("kafka", "validate"),
    ("sink", "upkeep"),
    ("settings", "metrics", "health", "app", "maintenance"),
)
"""The folders and modules of handler/, the lowest first: each imports from itself and from below.

Two on one floor do not know each other, but for those on the highest.
"""
ENTRIES_MAX = 12
SHIPPED = {
    *("aws_lambda_powertools", "boto3", "deltalake", "msgspec", "obstore", "orjson", "pyarrow"),
    *("pydantic", "yaml"),
}
ONLY_IN = {
    "obstore": {"delta.pool", "delta.store", "delta.store_errors"},
    "aws_lambda_powertools": {"app", "maintenance", "metrics"},
    # Of the Lambda runtime, not shipped; and the engine is in the artifact of maintenance alone.
    "boto3": {"maintenance"},
    "deltalake": {"upkeep.worker"},
    "yaml": {"contract.yaml_file"},
}
IMPURE = {
    *("os", "time", "random", "socket", "subprocess", "threading", "concurrent", "logging"),
    *("resource", "gc"),
}
MAY_TOUCH_THE_WORLD = {
    "app",
    "delta.retry",
    "delta.pool",
    "delta.store",
    "maintenance",
    "metrics",
    "upkeep.engine",
}
COMMANDS = sorted(
    path.stem for path in (ROOT / "silt/commands").glob("*.py") if path.stem != "__init__"
)


def imports_of(path: Path, *, only_top: bool = False) -> set[str]:
    """Return the dotted names that a module imports, by default those in functions too."""
    names = set()
    tree = ast.parse(path.read_text())
    for node in tree.body if only_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "handler").rglob("*.py"):
        if path.stem != "__init__":
            name = ".".join(path.relative_to(ROOT / "handler").with_suffix("").parts)
            found[name] = path
    return found


def floor_of(name: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if name.split(".")[0] in floor)


@cache
def edges() -> dict[str, set[str]]:
    """Return which modules of handler/ each one imports."""
    known = modules()
    return {
        name: {
            imported
            for each in imports_of(path)
            if (imported := each.removeprefix("handler.")) in known and each != imported
        }
        for name, path in known.items()
    }


def test_top_of_handler_is_read_at_a_glance() -> None:
    entries = {name.split(".")[0] for name in modules()}
    assert entries == {name for floor in FLOORS for name in floor}
    assert len(entries) <= ENTRIES_MAX


@pytest.mark.parametrize("name", sorted(modules()))
def test_module_imports_from_its_own_folder_and_from_below(name: str) -> None:
    for other in edges()[name]:
        same = name.split(".")[0] == other.split(".")[0]
        above = floor_of(other) > floor_of(name)
        beside = floor_of(other) == floor_of(name) < len(FLOORS) - 1
        assert same or not (above or beside), f"{name} imports {other}"


def test_what_decides_does_no_io() -> None:
    """The writers and the terms ask the tables; every other module decides by what it is given."""
    doing_io = {
        "delta.pool",
        "delta.store",
        "delta.retry",
        "delta.tables",
        "delta.commit",
        "delta.rewrite",
    }
    deciding = [
        name
        for name in modules()
        if name.startswith(("kafka.", "contract.", "validate.", "sink."))
        and name not in ("sink.writer", "sink.topic_writer", "sink.terms")
    ]
    assert {name: edges()[name] & doing_io for name in deciding} == {
        name: set() for name in deciding
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = edges()
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(graph)


@pytest.mark.parametrize("name", sorted(modules()))
def test_module_needs_only_what_ships_and_no_more_of_the_world_than_it_may(name: str) -> None:
    packages = {i.split(".")[0] for i in imports_of(modules()[name])} - {"handler"}
    foreign = packages - set(sys.stdlib_module_names)
    assert foreign <= SHIPPED, foreign - SHIPPED
    for package, places in ONLY_IN.items():
        assert package not in foreign or name in places, f"{package} belongs in {places}"
    if name not in MAY_TOUCH_THE_WORLD:
        assert not packages & IMPURE, packages & IMPURE


def test_no_module_of_the_command_imports_itself_by_way_of_others() -> None:
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / "silt").rglob("*.py")
    }
    graph = {name: imports_of(path, only_top=True) & set(paths) for name, path in paths.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_function_of_appends_needs_nothing_of_maintenance() -> None:
    graph = edges()
    needed, wanted = set[str](), {"app"}
    while wanted:
        needed |= wanted
        wanted = set().union(*(graph[name] for name in wanted)) - needed
    assert not {name for name in needed if name.startswith(("upkeep", "maintenance"))}


def test_no_two_modules_or_classes_share_a_name() -> None:
    """But for the commands, which are named as a person calls them."""
    names = Counter[str]()
    for path in [*(ROOT / "handler").rglob("*.py"), *(ROOT / "silt").rglob("*.py")]:
        if path.stem != "__init__" and path.parent.name != "commands":
            names[f"module {path.stem}"] += 1
        tree = ast.parse(path.read_text())
        names.update(f"class {node.name}" for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_command_imports_no_other_command(command: str) -> None:
    imported = imports_of(ROOT / "silt/commands" / f"{command}.py")
    others = {f"silt.commands.{other}" for other in COMMANDS if other != command}
    assert not imported & others


def test_modules_and_functions_stay_small() -> None:
    for path in [*(ROOT / "handler").rglob("*.py"), *(ROOT / "silt").rglob("*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, f"{path.name} has more than one reason to change"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 75, f"{path.name}: {node.name} has {length} lines"
