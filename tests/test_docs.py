"""What the pages say is so: links and anchors exist, codes and settings are there, commands run."""

import json
import re
import shlex
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from handler.errors import RejectCode
from silt.cli import COMMANDS, main
from silt.deployment.names import maintenance_name
from silt.docs import pages
from silt.testing import assert_rows
from tests.builders import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "templates"),
]


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}


def test_generated_pages_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    stale = [path for path, text in pages().items() if (ROOT / path).read_text() != text]
    assert not stale, "run: make format"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)?(?:#([^)]+))?\)", page.read_text()):
        path, anchor = target
        if path.startswith("http"):
            continue
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name} links to {path}"
        if anchor:
            assert anchor in anchors(there.read_text()), f"{page.name} links to #{anchor}"


def test_every_anchor_that_an_error_names_exists() -> None:
    there = {page.name: anchors(page.read_text()) for page in PAGES}
    for source in [*(ROOT / "handler").rglob("*.py"), *(ROOT / "silt").rglob("*.py")]:
        for page, anchor in re.findall(r"([a-z-]+\.md)#([a-z-]+)", source.read_text()):
            assert anchor in there[page], f"{source.name} names {page}#{anchor}"


def test_every_reject_code_has_its_line() -> None:
    text = (ROOT / "docs/dead-letters.md").read_text()
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    columns = {"topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value"}
    columns |= {"headers", "error_code", "error_path", "error_message", "contract_version"}
    assert listed - columns - {"failed_at", "redriven_at", "redriven_as"} == {
        str(code) for code in RejectCode
    }


def test_every_file_that_a_page_names_exists() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:tests|handler|silt|bench|docs|schemas|events)/[\w./-]+)`",
                               page.read_text()):  # fmt: skip
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_decision_that_is_named_exists() -> None:
    numbers = {path.name[:4] for path in (ROOT / "docs/decisions").glob("*.md")}
    sources = [*(ROOT / "handler").rglob("*.py"), *(ROOT / "silt").rglob("*.py"), *PAGES]
    for source in sources:
        for number in re.findall(r"decision (\d{4})", source.read_text()):
            assert number in numbers, f"{source.name} names decision {number}"


def test_every_silt_command_in_the_pages_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Each `silt ...` line parses; those that need no broker, bucket or account are run.

    Artifacts are made by tests/test_artifact.py and by CI, whose lines are those of the guide;
    projects by tests/test_wheel.py.
    """
    from silt.cli import parser

    monkeypatch.chdir(ROOT)
    found = 0
    for page in PAGES:
        for line in re.findall(r"^(?:\.venv/bin/)?silt ([a-z].*)$", page.read_text(), re.MULTILINE):
            words = shlex.split(re.split(" [#>] | && ", line)[0])
            if words[0] not in COMMANDS:
                continue
            parser(words[0]).parse_args(words)
            found += 1
            elsewhere = words[0] in ("dev", "package", "init") or words in (
                ["doctor"],
                ["doctor", "--before-deploy"],
            )
            on_aws = "s3://" in line or "--deployment" in words
            elsewhere |= "--against" in words  # a branch of the reader's repository
            elsewhere |= words[0] == "infer" and "-o" in words  # records of the reader's own
            if not elsewhere and not on_aws:
                words = [w.replace(".silt/tables", str(tmp_path)) for w in words]
                assert main(words) == 0, line
    assert found >= 3


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_no_place_of_one_machine_and_no_registry_is_named() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert len(locks) == 6
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert all("integrity" in p and "resolved" not in p for name, p in packages.items() if name)


NEEDS_AWS = ("aws ", "make deploy", "find given-up", "kafka-consumer-groups.sh ")
IN_CI = {"make setup tools", ".venv/bin/silt package"}
"""`make test` sets up and calls the tools; .ci/run packages."""


def test_every_command_of_the_guide_is_run_or_needs_an_account() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).splitlines():
        ran = line in IN_CI or line.startswith(".venv/bin/silt ")  # by the test of every command
        assert ran or line.startswith(NEEDS_AWS), line
    ci = (ROOT / ".ci/run").read_text()
    assert "make test" in ci
    assert "make package" in ci


def test_state_machine_of_the_maintenance_page_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text goes through a parser of the Amazon States Language; a misspelled one does not."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    text = re.findall(r"```json\n(.*?)```", (ROOT / "docs/maintenance.md").read_text(), re.S)[0]
    role = "arn:aws:iam::123456789012:role/silt"
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        client = boto3.client("stepfunctions", region_name="eu-west-1")
        client.create_state_machine(name="maintenance", definition=text, roleArn=role)
        wrong = text.replace('"Type": "Map"', '"Type": "Mop"')
        with pytest.raises(ClientError, match="Mop"):
            client.create_state_machine(name="other", definition=wrong, roleArn=role)
    names = set(re.findall(r'"FunctionName": "([^"]+)"', text))
    assert names == {maintenance_name("silt")}


DIALECT = (
    r"\b(come|comes|came) again\b",
    r"\bstands? (in|once|twice|there|nowhere|still|whole|for)\b",
    r"\bparted\b",
    r"\bmend(s|ed|ing)?\b",
    r"\b(lay|lays|laid|writes?) ([a-z]+ )?([a-z]+ )?down\b",
    r"\bfor ever\b",
    r"\bin stead\b",
    r"\b(is|are|was|were) told\b",
    r"\banew\b",
    r"\bto be rid of\b",
    r"\bwithout a word\b",
    r"\bwhoever\b",
    r"\bnowhere\b(?!:)",
    r"(?<!here )\bis no (list|object|type|text|table|source|JSON|YAML|number|offset)\b",
    r"\b(honour|colour|behaviour|licence|organis|recognis|favour|neighbour)",
    r"(?<!\d)\b1 (contracts|records|rows|files|problems|warnings|findings|tables)\b",
)
"""Phrases that we do not use, with what we write in their place in the style of the pages:
is retried, is stored in, partitioned by, fix, write, forever, is reported, again, remove, silently,
missing, is not a valid ...; and American spelling."""


def test_no_phrase_of_the_old_dialect_comes_back() -> None:
    sources = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "pyproject.toml", ROOT / "deploy.yml"]
    for folder in ("handler", "silt", "schemas"):
        sources += (p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".yaml", ".json"))
    found = [
        f"{source.relative_to(ROOT)}:{number}: {line.strip()}"
        for source in sources
        for number, line in enumerate(source.read_text().splitlines(), 1)
        if any(re.search(phrase, line, re.IGNORECASE) for phrase in DIALECT)
    ]
    assert found == []


def _examples(page: Path) -> list[tuple[str, str, str]]:
    """Return title, samples and columns of each section with a sample and the lines for it."""
    text = page.read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    pattern = re.compile(r"```(?:json)?\n(\{.*?)```\n.*?```yaml\n(  .*?)```", re.DOTALL)
    return [
        (section.splitlines()[0], match[1], match[2])
        for section in sections
        if (match := pattern.search(section)) is not None
    ]


@pytest.mark.parametrize(
    ("title", "samples", "columns"),
    [
        *_examples(ROOT / "docs/conversions.md"),
        *_examples(ROOT / "docs/contract.md"),
    ],
)
def test_examples_of_contracts_take_their_samples(
    title: str, samples: str, columns: str, tmp_path: Path
) -> None:
    contract = tmp_path / "contract.yaml"
    contract.write_text(f"topic: t\ntable: t\ncolumns:\n{columns}")
    values = [json.loads(line) for line in samples.splitlines()]
    for row in assert_rows(contract, values):
        assert None not in row.values(), title


def test_examples_of_contracts_are_found() -> None:
    assert len(_examples(ROOT / "docs/conversions.md")) == 2
    assert len(_examples(ROOT / "docs/contract.md")) == 3


def test_example_of_several_types_gives_each_record_its_table(tmp_path: Path) -> None:
    text = (ROOT / "docs/contract.md").read_text()
    section = text.partition("## My events have several types")[2].partition("\n## ")[0]
    samples = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert samples is not None
    values = [json.loads(line) for line in samples[1].splitlines()]
    for i, contract in enumerate(re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)):
        path = tmp_path / f"{i}.yaml"
        path.write_text(contract)
        (row,) = assert_rows(path, [values[i]])
        assert row["id"] == i + 1
