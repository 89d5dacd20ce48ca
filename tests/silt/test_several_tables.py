"""One topic, two tables, by `where`: dev, audit, gaps, replay, redrive and check follow."""

import json
from pathlib import Path
from typing import Any

import pytest

from silt.cli import main
from silt.local.broker import EmbeddedBroker
from tests.builders import SMALL, event, function_for, record, rows
from tests.reader import rows_of_folder
from tests.silt.topics import Topic

CONTRACT = """topic: orders
table: sales/{name}
where: {{type: {{equals: {name}}}}}
columns:
  id: {{type: long, required: true}}
"""


@pytest.fixture(scope="module")
def cluster() -> EmbeddedBroker:
    return EmbeddedBroker()


@pytest.fixture
def topic(cluster: EmbeddedBroker, tmp_path: Path) -> Topic:
    """Twelve records: orders, clicks and others in turn; a click that is rejected, and a tombstone
    at the end.
    """
    made = Topic(cluster, tmp_path)
    (tmp_path / "contracts" / "c.yaml").unlink()
    for name in ("order", "click"):
        text = CONTRACT.format(name=name).replace("topic: orders", f"topic: {made.name}")
        (tmp_path / "contracts" / f"{name}.yaml").write_text(text)
    values: list[Any] = [{"id": i, "type": ("order", "click", "other")[i % 3]} for i in range(10)]
    made.send(*values, {"id": "x", "type": "click"}, None)
    return made


def ids_of(topic: Topic, table: str) -> list[int]:
    place = topic.folder / "tables" / "sales" / table
    return [i for (i,) in rows_of_folder(place, "id", "_kafka_offset")]


def test_dev_writes_both_tables_and_an_audit_finds_nothing(topic: Topic, capsys: Any) -> None:
    log = str(topic.folder / "log")
    options = ["--group", topic.name, "--log", log, "--window", "2", "--until-idle", "4"]
    assert topic.run("dev", "--topic", topic.name, *options, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert [Path(uri).name for uri in summary["tables"]] == ["click", "order"]
    assert (summary["appended"], summary["dead_lettered"]) == (7, 1)
    assert ids_of(topic, "order") == [0, 3, 6, 9]
    assert ids_of(topic, "click") == [1, 4, 7]
    assert topic.run("audit") == 0
    for table in ("click", "order"):
        assert topic.run("gaps", f"sales/{table}") == 0


def test_batch_that_where_drops_whole_is_explained_by_the_contract(
    topic: Topic, capsys: Any
) -> None:
    """It makes no commit, so only the broker and the contract can say what it was."""
    for first, last in ((0, 1), (2, 2), (3, 11)):
        topic.ingest(first, last)
    capsys.readouterr()
    assert topic.run("gaps", "sales/order", "--json") == 0
    (gaps, *_) = json.loads(capsys.readouterr().out)
    assert gaps["counts"] == {"dropped by where": 1}
    assert topic.run("audit") == 0
    # By a wider `where` the record is missing, and comes back.
    contract = topic.folder / "contracts" / "order.yaml"
    contract.write_text(contract.read_text().replace("equals: order", "in: [order, other]"))
    assert topic.run("audit", "sales/order") == 1
    assert topic.run("gaps", "sales/order") == 1
    assert topic.run("replay", "--gaps", "sales/order") == 0
    assert sorted(ids_of(topic, "order")) == [0, 2, 3, 6, 9]
    assert ids_of(topic, "click") == [1, 4, 7]
    assert topic.run("audit") == 0


def test_replay_reports_each_table(topic: Topic, capsys: Any) -> None:
    where = ["--topic", topic.name, "--partition", "0", "--from", "0", "--to", "11"]
    assert topic.run("replay", *where, "--source", "mine", "--json") == 0
    by_table = {each["table"]: each for each in json.loads(capsys.readouterr().out)}
    assert by_table["sales/order"]["appended"] == 4
    assert by_table["sales/click"]["skipped_by_rule"] == 8
    assert topic.run("replay", *where, "--source", "mine") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 event with 12 records: 0 appended" in out


def test_letter_that_where_drops_now_is_closed_by_that_rule(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 11)
    text = (topic.folder / "contracts" / "click.yaml").read_text()
    narrower = text.replace("type: {equals: click}", "type: {equals: click}, id: {minimum: 0}")
    (topic.folder / "contracts" / "click.yaml").write_text(narrower)
    assert topic.run("redrive", "sales/click", "--yes", broker=False) == 0
    dead = topic.folder / "tables" / "sales" / "click__dead_letters"
    assert rows_of_folder(dead, '"offset", redriven_as', '"offset"') == [(10, "where")]


def test_check_says_what_samples_become_in_each_table(topic: Topic, capsys: Any) -> None:
    samples = topic.folder / "samples.ndjson"
    samples.write_text('{"id": 1, "type": "order"}\n{"id": "x", "type": "click"}\n{"type": 5}\n')
    folder = str(topic.folder / "contracts")
    assert main(["check", folder, "--sample", str(samples)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "sales/order: 3 samples: 1 would be rows, 0 rejected, 2 dropped by a rule" in out
    assert "sales/click: 3 samples: 0 would be rows, 1 rejected, 2 dropped by a rule" in out
    samples.write_text('{"id": 1, "kind": "order"}\n')
    assert main(["check", folder, "--sample", str(samples)]) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert err.count("where: it keeps none of 1 sample. Are its fields written like this?") == 2


@pytest.mark.parametrize("stops", ["", "on_invalid: fail\n"])
def test_redrive_stops_at_nothing_however_many_letters_stay_bad(
    stops: str, tmp_path: Path, capsys: Any
) -> None:
    """The circuit breaker and on_invalid: fail are about new records."""
    strict = SMALL.replace("name: {type: string}", "n: {type: long}")
    bad = [record(i, {"id": "x"}) for i in range(110)]
    good = [record(110 + i, {"id": i, "n": "1"}) for i in range(10)]
    filler = rows(120, 320)
    function_for(tmp_path, strict).handle(event([*bad, *good, *filler]), None)
    loose = strict.replace("{type: long}", "{type: long, accept: [string]}") + stops
    (tmp_path / "contracts" / "contract.yaml").write_text(loose)
    place = ["--table-root", str(tmp_path / "tables"), "--contracts", str(tmp_path / "contracts")]
    assert main(["redrive", "sales/orders", *place, "--yes"]) == 1
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders", "id")) == 210
