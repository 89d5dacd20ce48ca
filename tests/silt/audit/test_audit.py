"""silt audit: each finding is made to appear, by a table that somebody has broken."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyroaring import BitMap64

from silt.audit.offset_sets import ranges_of
from silt.audit.proof import audit
from silt.cli import main
from tests.builders import ROOT, event, function_for, record, rows


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A table with rows, dead letters, a tombstone and a batch that came late."""
    function = function_for(tmp_path)
    for batch in (
        [*rows(0, 5), record(5, b"x"), record(6), *rows(7, 9)],
        rows(0, 9, partition=1),
        rows(12, 15, partition=1),
        rows(9, 12, partition=1),
        [record(9, b"y"), *rows(10, 12)],
    ):
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    return str(tmp_path / "tables" / "sales" / "orders")


def codes(uri: str, **options: Any) -> list[tuple[str, int | None]]:
    return sorted((f.code, f.partition) for f in audit(uri, **options).findings)


def schema_of(uri: str) -> pa.Schema:
    return pa.schema(DeltaTable(uri).schema().to_arrow())


def add_again(uri: str, where: str) -> None:
    table = DeltaTable(uri)
    dataset = table.to_pyarrow_dataset().to_table()
    mask = [eval(where, {}, row) for row in dataset.to_pylist()]
    write_deltalake(uri, dataset.filter(pa.array(mask)), mode="append")


def edit_commit(uri: str, version: int, change: Callable[[dict[str, Any]], None]) -> None:
    path = Path(uri) / "_delta_log" / f"{version:020}.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        change(action)
    path.write_text("\n".join(map(json.dumps, actions)))


def test_sound_table_has_no_findings(uri: str) -> None:
    result = audit(uri)
    assert result.findings == []
    assert (result.partitions[0].rows.rows, result.partitions[0].dead_letters.rows) == (9, 2)
    assert list(result.partitions[0].skipped) == [6]
    assert result.partitions[0].in_gaps == 0
    assert result.partitions[0].explained == {"skipped by rule, as the commits say": 1}
    assert result.partitions[1].late == 3


def test_lost_rows_are_a_gap(uri: str) -> None:
    DeltaTable(uri).delete("_kafka_partition = 1 and _kafka_offset in (3, 4, 11)")
    (finding,) = audit(uri).findings
    assert (finding.code, finding.partition, finding.ranges) == ("gap", 1, [(3, 4), (11, 11)])
    assert codes(uri, gaps_allowed=True) == []


def test_rows_removed_from_the_end_are_behind_the_watermark(uri: str) -> None:
    DeltaTable(uri).delete("_kafka_partition = 1 and _kafka_offset = 14")
    assert codes(uri) == [("rows_removed", 1)]


def test_doubled_row_is_found(uri: str) -> None:
    add_again(uri, "_kafka_partition == 1 and _kafka_offset in (2, 3)")
    (finding,) = audit(uri).findings
    assert (finding.code, finding.ranges) == ("doubled_rows", [(2, 3)])


def test_doubled_dead_letter_is_found(uri: str) -> None:
    add_again(uri + "__dead_letters", "offset == 5")
    assert codes(uri) == [("doubled_dead_letters", 0)]


def test_record_in_both_tables_is_found(uri: str) -> None:
    row = pa.table({"_kafka_partition": [0], "_kafka_offset": [5], "id": [5]})
    write_deltalake(uri, row.cast(schema_of(uri).empty_table().select(row.column_names).schema),
                    mode="append", schema_mode="merge")  # fmt: skip
    assert codes(uri) == [("unfinished_redrive", 0)]


def test_row_beyond_the_watermark_is_found(uri: str) -> None:
    row = pa.table({"_kafka_partition": [1], "_kafka_offset": [15], "id": [5]})
    write_deltalake(uri, row.cast(schema_of(uri).empty_table().select(row.column_names).schema),
                    mode="append", schema_mode="merge")  # fmt: skip
    assert codes(uri) == [("watermark_behind", 1)]


def test_lost_watermark_is_found_also_below_that_of_the_dead_letters(tmp_path: Path) -> None:
    """Only rows that were redriven may be above the table's watermark."""
    function_for(tmp_path).handle(event([*rows(0, 5), record(5, b"x")]), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")

    def lower(action: dict[str, Any]) -> None:
        if "txn" in action:
            action["txn"]["version"] = 2

    for version in range(len(list((Path(uri) / "_delta_log").glob("*.json")))):
        edit_commit(uri, version, lower)
    assert codes(uri) == [("watermark_behind", 0)]


def test_rows_of_another_writer_are_found_and_its_commit_is_noted(uri: str) -> None:
    row = pa.table({"id": [5]})
    write_deltalake(uri, row, mode="append", schema_mode="merge")
    result = audit(uri)
    assert [f.code for f in result.findings] == ["foreign_rows"]
    assert "is WRITE by delta-rs" in result.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"appended": 99}, "records were delivered, but its counts add up to"),
        ({"appended": 99, "delivered": 101}, "it says 99 appended, and its streams add up to 7"),
        ({"streams": []}, "it says 7 appended, and its streams add up to 0"),
    ],
)
def test_accounting_that_does_not_add_up_is_found(
    uri: str, change: dict[str, Any], message: str
) -> None:
    def tamper(action: dict[str, Any]) -> None:
        if "commitInfo" in action:
            action["commitInfo"]["silt"].update(change)

    edit_commit(uri, 1, tamper)
    findings = audit(uri, gaps_allowed=True).findings
    assert any(f.code == "accounting" and message in f.message for f in findings), findings
    assert {f.version for f in findings} == {1}


def test_file_that_is_not_accounted_for_is_found(uri: str) -> None:
    def tamper(action: dict[str, Any]) -> None:
        if "add" in action:
            action["add"]["stats"] = action["add"]["stats"].replace(
                '"numRecords":7', '"numRecords":8'
            )

    edit_commit(uri, 1, tamper)
    assert codes(uri) == [("accounting", None), ("file_counts", None)]


def test_offset_of_two_generations_is_no_double(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 4)), None)
    later = [record(i, {"id": i, "name": "x"}, timestamp=1_795_000_500_000) for i in range(4)]
    second = function_for(tmp_path, generation=1)
    second.handle(event(later), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    assert audit(uri).findings == []
    add_again(uri, "_kafka_offset == 2 and id == 2")
    (finding,) = audit(uri).findings
    assert (finding.code, finding.ranges) == ("doubled_rows", [(2, 2)])


def test_producers_list_finds_what_is_lost_and_what_was_never_sent(
    uri: str, tmp_path: Path
) -> None:
    sent = [(0, o) for o in range(13)] + [(1, o) for o in range(1, 15)]
    lines = [{"partition": p, "offset": o, "fate": "skip" if (p, o) == (0, 6) else "row"}
             for p, o in sent]  # fmt: skip
    listed = tmp_path / "sent.jsonl"
    listed.write_text("\n".join(map(json.dumps, lines)))
    assert main(["audit", uri, "--expect", str(listed)]) == 1
    table = tmp_path / "sent.csv"
    table.write_text("partition,offset\n" + "\n".join(f"{p},{o}" for p, o in sent if o != 6))

    def found(file: Path) -> list[Any]:
        from silt.audit.sources import compare_with_list

        result = audit(uri)
        compare_with_list(result, file)
        return sorted((f.code, f.partition, f.ranges) for f in result.findings)

    assert found(listed) == [("lost", 0, [(12, 12)]), ("not_in_list", 1, [(0, 0)])]
    assert found(table) == [
        ("lost", 0, [(12, 12)]),
        ("not_in_list", 1, [(0, 0), (6, 6)]),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.jsonl",
            '{"partition": 0, "offset": 1}\nnonsense\n',
            r"a.jsonl:2: this is not valid JSON",
        ),
        ("a.jsonl", '{"partition": 0}\n', r"a.jsonl:1: expected a partition and an offset"),
        ("a.csv", "partition,offset\n0,x\n", r"a.csv:2: expected a partition and an offset"),
        ("a.jsonl", '{"partition": 0, "offset": 7.9}', r"a.jsonl:1: expected a partition"),
        ("a.jsonl", f'{{"partition": 0, "offset": {2**64}}}', r"a.jsonl:1: expected a partition"),
        ("a.csv", "p,o\n0,1\n", r"a.csv:2: expected a partition and an offset"),
    ],
)
def test_bad_list_is_named_by_file_and_line(
    uri: str, tmp_path: Path, name: str, text: str, message: str, capsys: Any
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["audit", uri, "--expect", str(tmp_path / name)]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_command_prints_for_people_and_for_scripts(
    uri: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["audit", uri]) == 0
    assert "26 records, each once; watermarks and the accounting of 9 commits agree" in (
        " ".join(capsys.readouterr().out.split())
    )
    DeltaTable(uri).delete("_kafka_offset = 2")
    assert main(["audit", uri, "--json"]) == 1
    (answer,) = json.loads(capsys.readouterr().out)
    assert [f["code"] for f in answer["findings"]] == ["gap", "gap"]
    assert answer["partitions"][0]["offsets_in_gaps"] == 1
    assert main(["audit", uri]) == 1
    assert "gap: partition 0: 1 offset missing" in capsys.readouterr().err


def test_tables_are_found_by_contract(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    contracts, root = tmp_path / "contracts", tmp_path / "tables"
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    given = ["--contracts", str(contracts), "--table-root", str(root)]
    assert main(["audit", *given]) == 0
    assert main(["audit", "sales/orders", *given]) == 0
    capsys.readouterr()
    assert main(["audit", "sales/order", *given]) == 2
    assert "No contract of" in capsys.readouterr().err
    assert main(["audit", "sales/orders", "--contracts", str(contracts)]) == 1
    assert "There is no Delta table at .silt/tables/sales/orders" in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "nothing")]) == 1
    assert "There is no Delta table" in capsys.readouterr().err
    write_deltalake(str(tmp_path / "other"), pa.table({"a": [1]}))
    assert main(["audit", str(tmp_path / "other")]) == 1
    assert "it is not a table that Silt writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "offsets", [[], [5], [0, 1, 2], [0, 2, 3, 9], [7, 8, 2**40, 2**40 + 1], [2**63 - 2]]
)
def test_ranges_are_those_of_the_offsets(offsets: list[int]) -> None:
    ranges = list(ranges_of(BitMap64(offsets)))
    assert [o for first, last in ranges for o in range(first, last + 1)] == offsets
    assert list(ranges_of(BitMap64(offsets), 1)) == ranges[:1]


def test_skip_that_came_twice_explains_one_offset(tmp_path: Path) -> None:
    """A tombstone that was redelivered hides no loss of another record."""
    function = function_for(tmp_path)
    batch = [*rows(0, 3), record(3), *rows(4, 6)]
    function.handle(event(batch), None)
    function.handle(event([*batch, *rows(6, 9)]), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    assert codes(uri) == []
    DeltaTable(uri).delete("_kafka_offset = 4")
    (finding,) = audit(uri).findings
    assert (finding.code, finding.ranges) == ("gap", [(4, 4)])


@pytest.mark.parametrize("every", [2, 11])
def test_topic_of_many_deletes_is_sound(tmp_path: Path, every: int) -> None:
    """A commit names every offset that a rule dropped, however many ranges they make."""
    batch = [rows(i, i + 1)[0] if i % every else record(i) for i in range(10_000)]
    function_for(tmp_path).handle(event(batch), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    result = audit(uri)
    assert result.findings == []
    dropped = -(-10_000 // every)
    assert result.partitions[0].explained == {"skipped by rule, as the commits say": dropped}
    DeltaTable(uri).delete("_kafka_offset = 9001")
    (finding,) = audit(uri).findings
    assert (finding.code, finding.ranges) == ("gap", [(9001, 9001)])


def test_ranges_of_an_older_commit_are_read(uri: str) -> None:
    def age(action: dict[str, Any]) -> None:
        for stream in action.get("commitInfo", {}).get("silt", {}).get("streams", ()):
            if stream.pop("skipped_runs", None):
                stream["skipped"] = [[6, 6]]

    for version in range(len(list((Path(uri) / "_delta_log").glob("*.json")))):
        edit_commit(uri, version, age)
    result = audit(uri)
    assert list(result.partitions[0].skipped) == [6]


def test_skip_beside_dead_letters_explains_one_offset(tmp_path: Path) -> None:
    """The commit of either table lists all streams of its batch; together they count once."""
    batch = [record(0, b"x"), record(1), record(2, b"y"), *rows(0, 3, partition=1)]
    function_for(tmp_path).handle(event(batch), None)
    result = audit(str(tmp_path / "tables" / "sales" / "orders"))
    assert result.findings == []
    assert result.partitions[0].explained == {"skipped by rule, as the commits say": 1}


def test_thousands_of_offsets_of_two_generations_are_no_doubles(tmp_path: Path) -> None:
    count = 10_001
    first = [record(i, {"id": i, "name": "x"}) for i in range(count)]
    later = [record(i, {"id": i, "name": "x"}, timestamp=1_795_000_500_000) for i in range(count)]
    function_for(tmp_path).handle(event(first), None)
    function_for(tmp_path, generation=1).handle(event(later), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    result = audit(uri)
    assert result.findings == []
    assert "may hide a loss" in result.notes[0]


def test_append_while_it_reads_is_no_finding(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from silt.audit import proof as module

    read, appended = module._read_offsets, []

    def and_append(*arguments: Any) -> None:
        read(*arguments)
        if not appended:
            appended.append(function_for(tmp_path).handle(event(rows(15, 20, partition=1)), None))

    monkeypatch.setattr(module, "_read_offsets", and_append)
    assert codes(uri) == []
    assert appended


def test_gap_of_any_size_is_found_at_once(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event([*rows(0, 2), *rows(5, 6)]), None)
    function_for(tmp_path).handle(event([record(2**62, {"id": 1, "name": "x"})]), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    (finding,) = audit(uri).findings
    assert finding.ranges == [(2, 4), (6, 2**62 - 1)]
    assert f"{2**62 - 3:,} offsets missing" in finding.message


def test_memory_stays_small_for_millions_of_rows(tmp_path: Path) -> None:
    """Three million rows in odd order, audited by a process of its own."""
    code = f"""
import re, random, sys
import pyarrow as pa
from deltalake import write_deltalake, CommitProperties, Transaction
uri = {str(tmp_path / "t")!r}
count = 3_000_000
for part in range(3):
    offsets = pa.array(range(part, count, 3), pa.int64())
    write_deltalake(uri, pa.table({{
        "_kafka_partition": pa.array([part % 2] * len(offsets), pa.int32()),
        "_kafka_offset": offsets,
        "_kafka_timestamp": pa.array([0] * len(offsets), pa.timestamp("us", "UTC")),
    }}), mode="append", commit_properties=CommitProperties(app_transactions=[
        Transaction(f"s/t/{{part % 2}}", count - 3 + part)]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, cwd=ROOT)
    code = f"""
import re
from silt.audit.proof import audit
result = audit({str(tmp_path / "t")!r}, gaps_allowed=True)
assert sum(p.rows.rows for p in result.partitions.values()) == 3_000_000
assert result.findings == [], result.findings
print("PEAK", int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split("PEAK ")[1]) < 500


@pytest.mark.parametrize("letters", ["", "__dead_letters"])
def test_missing_data_file_is_named_and_no_traceback(uri: str, letters: str, capsys: Any) -> None:
    gone = next(Path(uri + letters).glob("*.parquet"))
    gone.unlink()
    for verb in ("audit", "gaps"):
        assert main([verb, uri]) == 1
        err = " ".join(capsys.readouterr().err.split())
        assert "A data file that the log names is missing" in err
        assert gone.name in err
    assert main(["status", uri]) in (0, 1)
