"""Patterns of contracts: what RE2 runs, what it refuses, where it differs from Python.

The tables of docs/patterns.md are tested here, over every code point where they speak of classes.
"""

import re
import sys
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from handler.contract.patterns import (
    PatternRefused,
    check_pattern,
    differences,
    match_column,
    matches,
    slow_repetitions,
)
from handler.contract.warnings import warnings_of
from handler.validate.batch import Checker
from silt.cli import main
from tests.builders import ROOT, columns_contract, problems_of

REFUSED = [
    (r"(?=a)b", "lookahead", "character class"),
    (r"(?!a)b", "lookahead", "enum"),
    (r"(?<=a)b", "lookbehind", "character class"),
    (r"(?<!a)b", "lookbehind", "character class"),
    (r"(a)\1", r"\1 is a backreference", "Write out"),
    (r"(?P<n>a)(?P=n)", "backreference (?P=name)", "Write out"),
    (r"(?>a+)b", "atomic group", "(?:...)"),
    (r"a++", "++", "never backtracks"),
    (r"a*+", "*+", "never backtracks"),
    (r"a{2}{3}", "{2}{3}", "group around"),
    (r"(a)?(?(1)b|c)", "conditional", "both branches"),
    (r"(?#why)a", "comment", "YAML"),
    (r"(?x) a b", "flag (?x)", "without spaces"),
    (r"(?ix)a", "flag (?x)", "without spaces"),
    (r"(?a)\w", "flag (?a)", "ASCII already"),
    (r"(?u)\w", "flag (?u)", r"\pL"),
    (r"(?L)a", "flag (?L)", "locales"),
    (r"a\Z", r"\Z", r"\z"),
    (r"\N{DIGIT ONE}", r"\N", r"\x{...}"),
    (r"\u00e4", r"\u", r"\x{e4}"),
    (r"\U0001F600", r"\U", r"\x{1f600}"),
    (r"a{,5}", "{,5} as plain text", "{0,5}"),
    (r"a{,}", "{,} as plain text", "{0,}"),
    (r"a{1001}", "1000 times", "max_length"),
    (r"a{1,1001}", "1000 times", "max_length"),
    (r"a{99999999999999999999}", "1000 times", "max_length"),
    (r"(((a{30}){30}){30}){30}", "1000 times", "max_length"),
    (r"[", "not a valid RE2", "missing ]"),
    (r"(", "not a valid RE2", "missing )"),
    ("\\", "not a valid RE2", "trailing"),
    (r"(?<!\\d)[a-z]{2}(?!\d)", "lookbehind", "character class"),
]


@pytest.mark.parametrize(("pattern", "construct", "way_out"), REFUSED)
def test_what_re2_lacks_is_named_with_another_way(
    pattern: str, construct: str, way_out: str
) -> None:
    with pytest.raises(PatternRefused) as refused:
        check_pattern(pattern)
    assert construct in str(refused.value)
    assert way_out in str(refused.value)


@pytest.mark.parametrize(
    "pattern",
    [
        r".+@.+",
        r"^[A-Z]{2}$",
        r"(?i)straße",
        r"(?:a|b)*c",
        r"\\1",  # an escaped backslash, then a digit
        r"[(?=]",  # within a class these are characters
        r"\(?=",
        r"[{,5}]",
        r"^\x{2028}\z",
        r"\x{1001}(?i)\x{2126}\p{Greek}",
        r"[[:alpha:](?=]",
        r"[[:alpha:]{,3}]",
        r"\123",
        r"\Q(?=\E\Q{,3}\E\Q\1",
        r"a{1000}",
        r"\pL\p{Greek}[[:alpha:]]",
        r"(?P<name>a)",
        r"(?s).(?m)^a$",
        "(" * 500 + ")" * 500,
        "東京|京都",
    ],
)
def test_what_re2_runs_is_accepted(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r".+@.+", "a" * 3_000_000),
        (r"^(\w+\s?)+$", "a" * 3_000_000 + "!"),
        (r"(x+x+)+y", "x" * 3_000_000),
        (r"(a|aa)+$", "a" * 3_000_000 + "b"),
        (r"(.*)*c", "ab" * 1_500_000),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 3_000_000),
    ],
)
def test_pattern_that_backtracks_without_end_in_python_ends_on_megabytes(
    pattern: str, text: str
) -> None:
    """Python's re would not end before the session does; the limit of pytest would."""
    columns = f"a: {{type: string, pattern: '{pattern}'}}"
    checked = Checker(columns_contract(columns)).check([b'{"a":"' + text.encode() + b'"}'])
    assert [str(p.code) for p in checked.rejects[0]] == ["pattern"]


ALL = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
CLASSES = [r"\w", r"\W", r"\d", r"\D", r"\s", r"\S"]


@pytest.mark.parametrize("construct", CLASSES)
def test_the_re2_form_of_a_class_means_what_python_means(construct: str) -> None:
    (difference,) = differences(construct)
    held = match_column(pa.array(ALL), f"^(?:{difference.python})\\z").to_pylist()
    python = re.compile(construct)
    other = [c for c, h in zip(ALL, held, strict=True) if (python.fullmatch(c) is not None) != h]
    # A newer Unicode version in RE2 knows characters that Python's tables lack.
    assert all(unicodedata.category(c) == "Cn" for c in other), other[:10]


@pytest.mark.parametrize("construct", CLASSES)
def test_the_plain_form_of_a_class_means_what_re2_means(construct: str) -> None:
    (difference,) = differences(construct)
    assert match_column(pa.array(ALL), f"^{construct}\\z") == match_column(
        pa.array(ALL), f"^{difference.re2}\\z"
    )
    assert differences(difference.re2) == []


MEASURED = [(r"^\w+$", "Müller"), (r"^a$", "a\n"), (r"^\d$", "\u0663"), (r"a\sb", "a\u2003b")]


@pytest.mark.parametrize(("pattern", "text"), MEASURED)
def test_a_pattern_that_changes_its_meaning_is_warned_of(pattern: str, text: str) -> None:
    assert re.search(pattern, text)
    assert not matches(pattern, text)
    assert differences(pattern)
    for difference in differences(pattern):
        pattern = pattern.replace(difference.construct, difference.python)
    assert matches(pattern, text)


def test_word_boundaries_are_of_ascii_words() -> None:
    assert re.search(r"\bller", "Müller") is None
    assert matches(r"\bller", "Müller")
    (difference,) = differences(r"\bller")
    assert not matches(difference.python.split(" ")[0] + "ller", "Müller")


def test_the_end_of_the_text_as_in_python() -> None:
    (difference,) = differences("a$")
    assert [matches("a" + difference.python, t) for t in ("a", "a\n", "a\n\n", "ab")] == [
        *(True, True, False, False)
    ]
    assert differences(r"(?m)^a$") == []
    assert differences(r"\$[$]") == []
    assert differences(r"^[[:alpha:]$]\z") == differences(r"\Q$\E") == []
    for pattern, text in ((r"(?m:a)b$", "ab\n"), (r"^\(?m$", "m\n"), (r"[(?m]$", "m\n")):
        assert re.search(pattern, text)
        assert not matches(pattern, text)
        assert [d.construct for d in differences(pattern)] == ["$"]


def test_each_construct_is_warned_of_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "topic: t\ntable: t\ncolumns:\n  a: {type: string, pattern: '^\\w+\\w$'}\n"
        "  b: {type: struct, fields: {c: {type: string, pattern: '[\\d.]+'}}}\n"
        "  pattern: {type: string, pattern: 'x'}\n"
    )
    lines = warnings_of(str(file))
    assert [line.split(": ")[0:2] for line in lines] == [
        [f"{file}:4", "columns.a.pattern"],
        [f"{file}:4", "columns.a.pattern"],
        [f"{file}:5", "columns.b.fields.c.pattern"],
    ]
    assert r"As in Python: \p{Nd}" in lines[2]


@pytest.mark.parametrize(
    ("pattern", "counted"),
    [
        ("error.{0,200}code", 200),
        ("^.{0,100},.{0,100}\\z", 200),
        ("a{101}", 101),
        ("a{150,}", 150),
        ("a{100}", None),
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", None),
        ("[{200}]\\{200}\\x{2028}\\Q{200}\\E", None),
    ],
)
def test_long_counted_repetitions_are_warned_of(
    pattern: str, counted: int | None, tmp_path: Path
) -> None:
    check_pattern(pattern)
    assert slow_repetitions(pattern) == counted
    file = tmp_path / "c.yaml"
    file.write_text(f"topic: t\ntable: t\ncolumns:\n  a: {{type: string, pattern: '{pattern}'}}\n")
    warned = [line for line in warnings_of(str(file)) if "one by one" in line]
    assert len(warned) == (counted is not None)


def test_check_prints_warnings_and_succeeds(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schemas").mkdir()
    file = tmp_path / "schemas/c.yaml"
    file.write_text("topic: t\ntable: t\ncolumns:\n  a: {type: string, pattern: '^\\w+\\z'}\n")
    assert main(["check", "schemas"]) == 0
    printed = capsys.readouterr()
    assert r"warning: schemas/c.yaml:4: columns.a.pattern: \w is [0-9A-Za-z_]" in printed.err
    assert "1 warning." in printed.out
    assert main(["check", "schemas", "--json"]) == 0
    assert '"warnings": [\n' in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "package", "template"])
def test_contract_that_re2_cannot_run_fails_before_a_deployment(
    command: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schemas").mkdir()
    file = tmp_path / "schemas/c.yaml"
    file.write_text("topic: t\ntable: t\ncolumns:\n  a: {type: string, pattern: 'a(?=b)'}\n")
    deployment = (ROOT / "docs/deployments/msk-iam.yml").read_text()
    deployment = deployment.replace("../../schemas", "schemas").replace("orders", "t")
    (tmp_path / "deploy.yml").write_text(deployment)
    words = {
        "check": ["check", "schemas"],
        "package": ["package", "--contracts", "schemas"],
        "template": ["template", "deploy.yml"],
    }[command]
    assert main(words) != 0
    assert "schemas/c.yaml:4: columns.a.pattern: RE2 does not know the lookahead" in (
        capsys.readouterr().err
    )


def test_shipped_contracts_have_no_warning() -> None:
    for file in (Path(__file__).parents[2] / "schemas").glob("*.yaml"):
        assert warnings_of(str(file)) == []


def test_problem_of_a_contract_names_the_line() -> None:
    (problem,) = problems_of("topic: t\ntable: t\ncolumns:\n  a: {type: string, pattern: '(a)\\1'}")
    assert problem.startswith(r"test.yaml:4: columns.a.pattern: \1 is a backreference")
