"""silt replay: whatever was saved, from wherever; nothing is written before all of it is read."""

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.app import Function
from silt import output
from silt.cli import main
from silt.local.s3 import LocalS3
from tests.builders import ROOT, SMALL, event, record, rows
from tests.reader import rows_of_folder

Replay = Callable[..., int]
FAILURE = json.loads((ROOT / "events/golden/on-failure-s3.json").read_text())


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "c.yaml").write_text(SMALL)

    def run(*sources: str) -> int:
        place = ["--table-root", str(tmp_path / "tables"), "--contracts", str(folder)]
        return main(["replay", *sources, *place])

    return run


def ids(folder: Path) -> list[int]:
    table = folder / "tables" / "sales" / "orders"
    return [i for (i,) in rows_of_folder(table, "id")] if table.exists() else []


def failure_of(batch: list[dict[str, Any]]) -> str:
    """Return what an S3 destination keeps of a batch."""
    return json.dumps({**FAILURE, "payload": json.dumps(event(batch))})


def fill(folder: Path) -> Path:
    """Save three batches under names as S3's destinations have them, without an extension."""
    deep = folder / "saved" / "aws" / "lambda" / "2026" / "11"
    deep.mkdir(parents=True)
    (deep / "2026-11-25T10.00.00-a").write_text(json.dumps(event(rows(0, 2))))
    (deep / "2026-11-25T10.01.00-b").write_text(failure_of(rows(2, 4)))
    lines = [event(rows(4, 5)), event(rows(5, 6))]
    (folder / "saved" / "more.ndjson").write_text("\n".join(map(json.dumps, lines)))
    return folder / "saved"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("saved", range(6)),
        ("saved/aws", range(4)),
        ("saved/**/*-a", range(2)),
        ("saved/*.ndjson", range(4, 6)),
        ("saved/more.ndjson", range(4, 6)),
    ],
)
def test_files_folders_and_patterns_are_read(
    replay: Replay, tmp_path: Path, source: str, expected: range, capsys: Any
) -> None:
    fill(tmp_path)
    assert replay(str(tmp_path / source)) == 0
    assert ids(tmp_path) == list(expected)
    if len(expected) > 2:
        assert f"events with {len(expected)} records: " in capsys.readouterr().out


def test_standard_input_is_read(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = io.BytesIO(json.dumps(event(rows(0, 3))).encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(given))
    assert replay("-") == 0
    assert ids(tmp_path) == [0, 1, 2]


def test_prefix_of_a_bucket_is_read(
    replay: Replay, tmp_path: Path, s3: LocalS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    client, prefix = s3.client(), f"replay-{time.time_ns()}"
    saved = fill(tmp_path)
    for path in saved.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(saved)}"
            client.put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes())
    client.put_object(Bucket=s3.bucket, Key=f"{prefix}/folder/", Body=b"")
    assert replay(f"s3://{s3.bucket}/{prefix}/aws") == 0
    assert ids(tmp_path) == [0, 1, 2, 3]
    assert replay(f"s3://{s3.bucket}/{prefix}/") == 0
    assert ids(tmp_path) == [0, 1, 2, 3, 4, 5]


BAD = [
    ("nothing/*.json", None, "names no file"),
    ("empty/", None, "names no file"),
    ("nowhere.json", None, "nowhere.json cannot be read"),
    ("a.json", "no JSON", "a.json:1: this is not valid JSON"),
    ("a.json", "[1]", "a.json: The event is list, not an object"),
    ("a.json", '{"no": "event"}', "a.json: eventSource is None"),
    ("a.json", json.dumps({k: v for k, v in FAILURE.items() if k != "payload"}), "as SQS and SNS"),
    (
        "a.ndjson",
        "\n".join([json.dumps(event(rows(8, 9))), '{"no": "event"}']),
        "a.ndjson:2: eventSource is None",
    ),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_what_cannot_be_read_is_named_before_anything_is_written(
    replay: Replay, tmp_path: Path, name: str, text: str | None, message: str, capsys: Any
) -> None:
    saved = fill(tmp_path)
    (tmp_path / "empty").mkdir()
    if text is not None:
        (tmp_path / name).write_text(text)
    assert replay(str(saved), str(tmp_path / name)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert ids(tmp_path) == []


def test_batch_that_the_function_refuses_does_not_hold_up_the_others(
    replay: Replay, tmp_path: Path, capsys: Any
) -> None:
    """One offset with two timestamps: the topic was recreated."""
    lines = [event(rows(0, 2)), event([record(1, {"id": 1}, timestamp=5)]), event(rows(2, 3))]
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert replay(str(file)) == 1
    captured = capsys.readouterr()
    assert "events.ndjson:2: Stream demo-uuid-1/orders/0: offset 1 arrived" in captured.err
    assert "1 event failed" in captured.out
    assert ids(tmp_path) == [0, 1, 2]


def test_file_that_goes_away_meanwhile_holds_up_nothing_and_is_named(
    replay: Replay, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = fill(tmp_path)
    handle = Function.run

    def run_and_remove(self: Function, *arguments: Any) -> Any:
        (saved / "more.ndjson").unlink(missing_ok=True)
        return handle(self, *arguments)

    monkeypatch.setattr(Function, "run", run_and_remove)
    assert replay(str(saved)) == 1
    captured = capsys.readouterr()
    assert "more.ndjson cannot be read" in captured.err
    assert "1 event failed" in captured.out
    assert ids(tmp_path) == [0, 1, 2, 3]


def test_generations_are_asked_about_before_anything_is_replayed(
    replay: Replay, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = fill(tmp_path)
    assert replay(str(saved / "more.ndjson")) == 0
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr(output, "ask", ask)
    assert replay(str(saved), "--generation", "1") == 2
    assert asked == ["Start generation 1?"]
    assert ids(tmp_path) == [4, 5]
