"""Deployments of tests: the examples of the docs with something changed, and their contracts."""

from pathlib import Path

from tests.builders import ROOT

EXAMPLES = ROOT / "docs/deployments"


def write_example(
    folder: Path, more: str = "", *, example: str = "msk-iam", **replaced: str
) -> Path:
    """Write an example with more lines at its end. Returns its file.

    `replaced` are keys of its top level with other values: `topics="[orders, sensors]"`. The
    contracts are those of the checkout.
    """
    text = (EXAMPLES / f"{example}.yml").read_text()
    for key, value in {"contracts": str(ROOT / "schemas"), **replaced}.items():
        head, found, rest = text.partition(f"\n{key}: ")
        assert found, f"{example} has no line of {key}"
        text = f"{head}{found}{value}\n{rest.partition(chr(10))[2]}"
    file = folder / "deploy.yml"
    file.write_text(text + more)
    return file


def write_contract(folder: Path, topic: str, table: str) -> None:
    """Write the contract of sensors for another topic or table into a folder, which is made."""
    folder.mkdir(exist_ok=True)
    text = (ROOT / "schemas/sensors.yaml").read_text()
    text = text.replace("topic: sensors", f"topic: {topic}")
    (folder / f"{topic}.yaml").write_text(text.replace("table: plant/sensors", f"table: {table}"))
