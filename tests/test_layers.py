"""Who may import whom: imports go down the layers, never up, and nothing that is not shipped."""

import ast
import sys
from pathlib import Path

import pytest

from tests.builders import ROOT

CORE = {
    # Each module of handler/ with what it may import of handler/, besides errors.
    "errors": set(),
    "delta_types": set(),
    "event": set(),
    "values": {"delta_types"},
    "contract_yaml": set(),
    "contract_model": set(),
    "contract_patterns": set(),
    "contract_columns": {"contract_patterns", "delta_types", "values"},
    "contract_rules": {
        *("contract_columns", "contract_model", "contract_patterns", "contract_yaml"),
        *("delta_types", "values"),
    },
    "contract_upkeep": {"contract_model", "contract_yaml"},
    "contract": {
        "contract_columns",
        *("contract_model", "contract_rules", "contract_upkeep", "contract_yaml", "delta_types"),
    },
    "contract_readers": {"contract", "delta_types"},
    "contract_warnings": {"contract_patterns", "contract_yaml"},
    "validate.decode": {"values"},
    "validate.scalars": {"contract_columns", "contract_patterns", "delta_types", "values"},
    "validate.columns": {"contract_columns", "delta_types", "validate.scalars"},
    "validate.diagnose": {"contract_columns", "values"},
    "validate.kinds": {"contract_columns", "delta_types", "validate.diagnose"},
    "validate.numbers": {"contract_columns", "validate.scalars", "values"},
    "validate.size": {"contract_columns"},
    "validate.slices": set(),
    "validate.unknown": {
        *("contract_columns", "validate.decode", "validate.diagnose", "validate.size"),
    },
    "validate.batch": {
        *("contract", "contract_columns", "delta_types", "validate.columns", "validate.decode"),
        *("validate.diagnose", "validate.kinds", "validate.numbers", "validate.scalars"),
        *("validate.size", "validate.slices", "validate.unknown"),
    },
    "infer": {"contract_columns", "delta_types", "validate.columns", "values"},
    "kafka.offsets": {"event", "values"},
    "fit": {"delta_types"},
    "plan": {"contract"},
    "rows": {
        *("contract", "contract_rules", "delta_types", "event", "infer", "kafka.offsets"),
        *("validate.batch", "validate.columns", "validate.unknown"),
    },
    "answer": {"plan", "rows"},
    "settings": set(),
    "deadline": {"settings"},
    "metrics": set(),
    "table_schema": {
        *("contract", "contract_readers", "delta.active", "delta.features", "delta.files"),
        *("delta.log", "delta.look_up", "delta.statistics", "delta_types", "fit"),
    },
    "terms": {
        *("contract", "delta.log", "delta.patience", "delta.swap", "delta.tables", "table_schema"),
    },
    "decision": {
        *("contract", "delta.files", "delta.log", "delta.look_up", "delta.patience"),
        *("delta.tables", "delta_types", "event", "kafka.offsets", "plan", "rows"),
        *("table_schema", "terms", "validate.batch"),
    },
    "ingest": {
        *("contract", "decision", "delta.log", "delta.look_up", "delta.patience"),
        *("delta.store", "delta.swap", "delta.tables", "event", "kafka.offsets", "plan"),
        *("rows", "table_schema", "terms", "validate.batch"),
    },
    "health": {"delta.log", "delta.patience", "delta.store", "delta.tables"},
    "app": {
        *("answer", "contract", "deadline", "delta.patience", "delta.store", "event", "health"),
        *("ingest", "metrics", "plan", "settings"),
    },
    "upkeep.plan": {"contract_upkeep", "delta.active"},
    "upkeep.properties": {"contract_upkeep"},
    "upkeep.engine": set(),
    "upkeep.memory": set(),
    "upkeep.worker": set(),
    "upkeep.report": {"contract_upkeep", "delta.active", "upkeep.plan"},
    "upkeep.folder": {
        *("delta.checkpoint", "delta.log", "delta.parquet_ranges", "delta.patience"),
        *("delta.store", "delta.tables"),
    },
    "upkeep.repair": {
        *("delta.checkpoint", "delta.parquet_ranges", "delta.patience", "delta.store"),
        "delta.tables",
    },
    "upkeep.checking": {
        *("delta.active", "delta.conform", "delta.files", "delta.log", "delta.parquet_ranges"),
        *(
            "delta.patience",
            "delta.rewrite",
            "delta.statistics",
            "delta.tables",
            "delta_types",
            "upkeep.report",
        ),
    },
    "upkeep.compaction": {
        *("contract_upkeep", "delta.files", "delta.log", "delta.look_up", "delta.parquet_ranges"),
        *("delta.patience", "delta.rewrite", "delta.rows", "delta.sort"),
        *("delta.tables", "delta_types", "upkeep.plan", "upkeep.report"),
    },
    "upkeep.expiry": {
        *("delta.features", "delta.patience", "delta.rewrite", "upkeep.compaction"),
        "upkeep.plan",
    },
    "upkeep.cleaning": {
        *("contract_upkeep", "delta.log", "delta.parquet_ranges", "delta.patience"),
        *("delta.rewrite", "delta.swap", "delta.tables", "upkeep.engine", "upkeep.folder"),
        *("upkeep.properties", "upkeep.report"),
    },
    "upkeep.run": {
        *("contract_upkeep", "delta.active", "delta.features", "delta.files", "delta.log"),
        *("delta.look_up", "delta.patience", "delta.rewrite", "delta.store", "delta.tables"),
        "upkeep.checking",
        *("upkeep.cleaning", "upkeep.compaction", "upkeep.engine", "upkeep.expiry"),
        *("upkeep.plan", "upkeep.repair", "upkeep.report"),
    },
    "maintenance": {
        *("contract", "contract_upkeep", "deadline", "delta.look_up", "delta.patience"),
        *("delta.store", "health", "metrics", "settings", "table_schema", "upkeep.engine"),
        *("upkeep.memory", "upkeep.report", "upkeep.run"),
    },
    "delta.patience": set(),
    "delta.store": set(),
    "delta.log": {"delta_types"},
    "delta.ranges": set(),
    "delta.parquet_ranges": {"delta.patience", "delta.store"},
    "delta.statistics": {"delta.log", "delta_types"},
    "delta.features": {"delta.log", "delta_types"},
    "delta.look_up": {
        *("delta.log", "delta.parquet_ranges", "delta.patience", "delta.ranges"),
        *("delta.statistics", "delta.store"),
    },
    "delta.active": {"delta.log", "delta.statistics", "delta.store"},
    "delta.files": {
        *("delta.active", "delta.log", "delta.look_up", "delta.ranges", "delta.statistics"),
    },
    "delta.conform": {"delta.log"},
    "delta.rows": {"delta.conform", "delta.parquet_ranges", "delta.patience", "delta.store"},
    "delta.sort": set(),
    "delta.checkpoint": {"delta.log", "delta.parquet_ranges", "delta.patience", "delta.store"},
    "delta.tables": {
        *("delta.checkpoint", "delta.log", "delta.look_up", "delta.parquet_ranges"),
        *("delta.patience", "delta.store"),
    },
    "delta.rewrite": {
        *("delta.active", "delta.features", "delta.log", "delta.patience", "delta.swap"),
        *("delta.tables", "delta_types"),
    },
    "delta.swap": {"delta.log", "delta.parquet_ranges", "delta.patience", "delta.tables"},
}
SHIPPED = {
    *("aws_lambda_powertools", "boto3", "deltalake", "msgspec", "obstore", "orjson", "pyarrow"),
    *("pydantic", "yaml"),
}
ONLY_IN = {
    "obstore": {"delta.store"},
    "aws_lambda_powertools": {"app", "maintenance", "metrics"},
    # Of the Lambda runtime, not shipped; and the engine is in the artifact of maintenance alone.
    "boto3": {"maintenance"},
    "deltalake": {"upkeep.worker"},
    "yaml": {"contract_yaml"},
    "msgspec": {"validate.kinds", "validate.numbers"},
}
IMPURE = {
    *("os", "time", "random", "socket", "subprocess", "threading", "concurrent", "logging"),
    *("resource", "gc"),
}
MAY_TOUCH_THE_WORLD = {"app", "delta.patience", "delta.store", "maintenance", "upkeep.engine"}
COMMANDS = sorted(
    path.stem for path in (ROOT / "silt/commands").glob("*.py") if path.stem != "__init__"
)


def imports_of(path: Path) -> set[str]:
    """Return the dotted names that a module imports, those inside of functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "handler").rglob("*.py"):
        if path.stem != "__init__":
            name = ".".join(path.relative_to(ROOT / "handler").with_suffix("").parts)
            found[name] = path
    return found


def test_every_module_has_its_place() -> None:
    assert set(modules()) == set(CORE)


@pytest.mark.parametrize("name", sorted(CORE))
def test_module_imports_only_what_lies_below(name: str) -> None:
    imported = imports_of(modules()[name])
    of_handler = {i.removeprefix("handler.") for i in imported if i.startswith("handler")}
    used = {i for i in of_handler if i in CORE}
    assert used <= CORE[name] | {"errors"}, used - CORE[name]
    packages = {i.split(".")[0] for i in imported} - {"handler"}
    foreign = packages - set(sys.stdlib_module_names)
    assert foreign <= SHIPPED, foreign - SHIPPED
    for package, places in ONLY_IN.items():
        assert package not in foreign or name in places, f"{package} belongs in {places}"
    if name not in MAY_TOUCH_THE_WORLD:
        assert not packages & IMPURE, packages & IMPURE


def test_function_of_appends_needs_nothing_of_maintenance() -> None:
    needed, wanted = set[str](), {"app"}
    while wanted:
        needed |= wanted
        wanted = set().union(*(CORE[name] for name in wanted)) - needed
    assert not {name for name in needed if name.startswith(("upkeep", "maintenance"))}


def test_core_has_no_cycles() -> None:
    done: set[str] = set()
    while len(done) < len(CORE):
        ready = {n for n, below in CORE.items() if n not in done and below <= done}
        assert ready, f"a cycle among {set(CORE) - done}"
        done |= ready


@pytest.mark.parametrize("command", COMMANDS)
def test_command_imports_no_other_command(command: str) -> None:
    imported = imports_of(ROOT / "silt/commands" / f"{command}.py")
    others = {f"silt.commands.{other}" for other in COMMANDS if other != command}
    assert not imported & others


def test_modules_and_functions_stay_small() -> None:
    for path in [*(ROOT / "handler").rglob("*.py"), *(ROOT / "silt").rglob("*.py")]:
        text = path.read_text()
        assert len(text.splitlines()) <= 450, f"{path.name} has more than one reason to change"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 75, f"{path.name}: {node.name} has {length} lines"
