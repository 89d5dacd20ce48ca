"""silt check --sample, and silt.testing: what a contract makes of samples, without a table."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silt.cli import main
from silt.samples.judge import AT_ONCE, judge
from silt.samples.read_samples import samples_of_values
from silt.testing import assert_rejected, assert_rows
from tests.builders import ROOT, SMALL, contract_of, event, function_for, record, rows
from tests.reader import rows_of_folder

Check = Callable[..., int]
GOOD, WRONG, BROKEN = {"id": 1, "name": "é"}, {"id": "x"}, b'{"id": 1'


@pytest.fixture
def check(tmp_path: Path) -> Check:
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "c.yaml").write_text(SMALL)

    def run(*sources: str | Path, more: tuple[str, ...] = ()) -> int:
        return main(["check", str(folder), *more, "--sample", *map(str, sources)])

    return run


def outcomes(check: Check, source: Path, capsys: Any, *more: str, code: int) -> list[str]:
    capsys.readouterr()
    assert check(source, more=(*more, "--json")) == code
    samples = json.loads(capsys.readouterr().out)["samples"]
    return [sample["outcome"] for sample in samples]


FILES = [
    ("one.json", json.dumps(GOOD), ["row"]),
    ("pretty.json", json.dumps(GOOD, indent=2), ["row"]),
    ("array.json", json.dumps([GOOD, WRONG, GOOD]), ["row", "rejected", "row"]),
    ("lines.ndjson", f"{json.dumps(GOOD)}\n\n{json.dumps(WRONG)}\n", ["row", "rejected"]),
    ("broken.ndjson", f'{json.dumps(GOOD)}\n{{"id": 1\nno JSON', ["row", "rejected", "rejected"]),
    ("scalars.ndjson", '7\n"x"\nnull\n[1]', ["rejected"] * 4),
    ("twice.json", '{"id": 1, "id": 2}', ["rejected"]),
    ("event.json", json.dumps(event([*rows(0, 2), record(2, None)])), ["row", "row", "dropped"]),
    (
        "events.ndjson",
        "\n".join(json.dumps(event(batch)) for batch in (rows(0, 1), [record(0, b"x")])),
        ["row", "rejected"],
    ),
    (
        "given-up.json",
        json.dumps({"version": "1.0", "payload": json.dumps(event(rows(0, 2)))}),
        ["row", "row"],
    ),
]


@pytest.mark.parametrize(("name", "text", "expected"), FILES)
def test_samples_of_every_form_are_judged(
    check: Check, tmp_path: Path, name: str, text: str, expected: list[str], capsys: Any
) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert outcomes(check, file, capsys, code=int("rejected" in expected)) == expected
    assert not (tmp_path / "tables").exists()


def test_rejects_are_shown_with_file_and_line(
    check: Check, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.ndjson"
    file.write_text(f"{json.dumps(GOOD)}\n{json.dumps(WRONG)}\n")
    monkeypatch.chdir(tmp_path)
    assert check(file.name) == 1
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "s.ndjson:2 wrong_type id expected an" in out
    assert "2 samples: 1 would be rows, 1 rejected, 0 dropped by a rule." in out


def test_column_that_no_sample_fills_is_warned_of(
    check: Check, tmp_path: Path, capsys: Any
) -> None:
    file = tmp_path / "s.ndjson"
    file.write_text('{"id": 1, "nmae": "x"}\n{"id": 2}')
    assert check(file) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "columns.name: none of 2 samples has its field" in err
    assert "columns.id" not in err


@pytest.mark.parametrize(("sites", "warned"), [(10, False), (11, True), (50, True)])
def test_many_partitions_of_a_batch_are_warned_of_with_their_cost(
    check: Check, tmp_path: Path, capsys: Any, sites: int, warned: bool
) -> None:
    contract = SMALL + "  site: {type: string}\npartition_by: [site]\n"
    next((tmp_path / "contracts").iterdir()).write_text(contract)
    file = tmp_path / "s.ndjson"
    file.write_text(
        "\n".join(json.dumps({"id": i, "name": "x", "site": f"s{i % sites}"}) for i in range(120))
    )
    assert check(file) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert ("rows of" in err) is warned
    if sites == 50:
        assert "rows of 50 partitions. A batch like them puts 50 files" in err
        assert "1,991 USD of PUTs a month" in err
        assert "docs/sizing.md#partitions" in err


def test_standard_input_and_several_topics(
    check: Check, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = SMALL.replace("topic: orders", "topic: clicks").replace("sales/orders", "web/clicks")
    (tmp_path / "contracts" / "clicks.yaml").write_text(other.replace("type: long", "type: string"))
    for topic, code in (("orders", 0), ("clicks", 1)):
        given = io.TextIOWrapper(io.BytesIO(b'{"id": 1}'))
        monkeypatch.setattr("sys.stdin", given)
        assert check("-", more=("--topic", topic)) == code
    file = tmp_path / "s.json"
    file.write_text('{"id": 1}')
    assert check(file) == 2
    assert "does not say its topic" in capsys.readouterr().err
    assert check(file, more=("--topic", "nothing")) == 2
    # An event says it.
    file.write_text(json.dumps(event(rows(0, 1))))
    assert check(file) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("[]", "has no samples"),
        (json.dumps({"KafkaBatchInfo": {}}), "silt capture reads them"),
        (json.dumps({**event(rows(0, 1)), "records": {"orders-0": 7}}), "is not a list"),
        (None, "cannot be read"),
    ],
)
def test_what_holds_no_samples_is_refused(
    check: Check, tmp_path: Path, text: str | None, message: str, capsys: Any
) -> None:
    file = tmp_path / "s.json"
    if text is not None:
        file.write_text(text)
    assert check(file) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_policies_about_batches_do_not_hide_what_is_wrong(tmp_path: Path) -> None:
    strict = SMALL + "on_invalid: fail\ncircuit_breaker: {ratio: 0.1, min_records: 2}\n"
    samples = samples_of_values([GOOD, WRONG, GOOD, WRONG, WRONG])
    judged = [each.outcome for each in judge(contract_of(strict), samples)]
    assert judged == ["row", "rejected", "row", "rejected", "rejected"]


def test_many_samples_are_judged_in_order() -> None:
    values = [{"id": i} if i % 3 else {"id": "x"} for i in range(AT_ONCE + 5)]
    judged = list(judge(contract_of(SMALL), samples_of_values(values)))
    assert [each.outcome == "row" for each in judged] == [bool(i % 3) for i in range(AT_ONCE + 5)]
    assert judged[-1].values == {"id": AT_ONCE + 4, "name": None}


def test_rows_are_those_that_the_function_writes(tmp_path: Path) -> None:
    contract = tmp_path / "contracts" / "contract.yaml"
    text = SMALL + "  at: {type: timestamp}\n  day: {type: date, from: at}\n"
    values = [{"id": i, "name": f"n{i}", "at": "2026-05-01T10:00:00Z"} for i in range(5)]
    function_for(tmp_path, text).handle(event([record(i, v) for i, v in enumerate(values)]), None)
    expected = rows_of_folder(
        tmp_path / "tables/sales/orders", 'id, name, epoch_us("at"), day', "id"
    )
    made = assert_rows(contract, values)
    assert [
        (r["id"], r["name"], round(r["at"].timestamp() * 1e6), r["day"]) for r in made
    ] == expected


def test_helpers_for_pytest_say_what_is_wrong() -> None:
    orders = ROOT / "schemas/orders.yaml"
    good = {"order_id": "o-1", "amount": "1.50", "placed_at": "2026-05-01T10:00:00Z"}
    (row,) = assert_rows(orders, [good])
    assert (row["order_id"], str(row["amount"]), str(row["order_date"])) == (
        *("o-1", "1.50", "2026-05-01"),
    )
    wrong = {**good, "order_id": 7}
    assert_rejected(orders, [wrong], code="wrong_type", path="order_id")
    assert_rejected(orders, [wrong, BROKEN])
    with pytest.raises(AssertionError, match=r"1 of 2 samples are no rows:\n  sample 2: order_id"):
        assert_rows(orders, [good, wrong])
    with pytest.raises(AssertionError, match="sample 1 is not rejected: it is row"):
        assert_rejected(orders, [good])
    with pytest.raises(AssertionError, match="not for \\('bad_date', None\\)"):
        assert_rejected(orders, [wrong], code="bad_date")
    with pytest.raises(AssertionError, match="1 of 1 samples are no rows"):
        assert_rows(orders, [None])
    assert len(assert_rows(ROOT / "schemas/clicks.yaml", ROOT / "events/clicks.json")) > 0


def test_example_of_the_page_passes(tmp_path: Path) -> None:
    page = (ROOT / "docs/contract.md").read_text()
    (example,) = re.findall(r"```python\n(from silt\.testing.*?)```", page, re.DOTALL)
    (tmp_path / "test_page.py").write_text(example)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            str(tmp_path / "test_page.py"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
