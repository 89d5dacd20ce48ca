"""silt redrive at the terminal: what it asks, prints and returns; and what audit and status see."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from handler.maintenance import Maintenance
from handler.settings import Settings
from silt import output
from silt.audit.proof import audit
from silt.cli import main
from silt.redrive import redriver as redriver_module
from silt.times import parse_time
from tests.builders import SMALL, FakeClock, event, function_for, record, rows
from tests.reader import rows_of_folder

RULES = SMALL + "circuit_breaker: {ratio: 1.0}\n"
STRICT = RULES.replace("{type: string}", "{type: string, max_length: 3}")
LONG = "long name"

Silt = Callable[..., int]


@pytest.fixture
def silt(tmp_path: Path, capsys: Any) -> Silt:
    """Run the command on a table with two rows, three letters that today's contract takes, one that
    it does not, and a tombstone."""
    function = function_for(tmp_path, STRICT)
    long = [record(i, {"id": i, "name": LONG}) for i in (2, 3, 5)]
    batch = [*rows(0, 2), *long[:2], record(4, b"no JSON"), long[2], record(6)]
    assert function.handle(event(batch), None) == {"batchItemFailures": []}
    (tmp_path / "contracts" / "contract.yaml").write_text(RULES)
    capsys.readouterr()

    def run(*arguments: str) -> int:
        place = ["--table-root", str(tmp_path / "tables")]
        return main([*arguments, *place, "--contracts", str(tmp_path / "contracts")])

    return run


def ids(folder: Path) -> list[tuple[Any, ...]]:
    return rows_of_folder(folder / "tables" / "sales" / "orders", "id")


def test_without_a_terminal_it_wants_a_yes(silt: Silt, tmp_path: Path, capsys: Any) -> None:
    assert silt("redrive", "sales/orders") == 2
    assert "To redrive without a question, use --yes" in capsys.readouterr().err
    assert ids(tmp_path) == [(0,), (1,)]


@pytest.mark.parametrize(("answer", "code", "count"), [(True, 1, 5), (False, 2, 2)])
def test_at_a_terminal_it_shows_what_would_happen_and_asks(
    silt: Silt,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    answer: bool,
    code: int,
    count: int,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(output, "ask", lambda _question: answer)
    assert silt("redrive", "sales/orders") == code
    assert "of 4 dead letters, 3 would become rows" in capsys.readouterr().out
    assert len(ids(tmp_path)) == count


def test_nothing_to_do_is_fine_at_a_terminal_and_json_needs_a_yes(
    silt: Silt, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert silt("redrive", "sales/orders", "--code", "pattern") == 0
    assert "no open dead letter is selected" in capsys.readouterr().out
    assert silt("redrive", "sales/orders", "--json") == 2
    assert capsys.readouterr().out == ""


def test_dry_run_and_run_print_the_same_by_code(silt: Silt, tmp_path: Path, capsys: Any) -> None:
    assert silt("redrive", "sales/orders", "--dry-run", "--json") == 1
    would = json.loads(capsys.readouterr().out)
    assert ids(tmp_path) == [(0,), (1,)]
    assert silt("redrive", "sales/orders", "--yes", "--json") == 1
    did = json.loads(capsys.readouterr().out)
    assert {**would, "dry_run": False} == did
    assert did == {
        "table": "sales/orders",
        "selected": 4,
        "redriven": 3,
        "dropped": 0,
        "rejected": {"not_json": 1},
        "remaining": 1,
        "codes": {
            "length": {"selected": 3, "redriven": 3, "dropped": 0, "rejected": {}},
            "not_json": {"selected": 1, "redriven": 0, "dropped": 0, "rejected": {"not_json": 1}},
        },
        "notes": [],
        "dry_run": False,
    }
    assert silt("redrive", "sales/orders", "--yes", "--code", "length") == 0
    assert "no open dead letter is selected" in capsys.readouterr().out


def test_what_stays_is_shown_with_its_place_and_reason(silt: Silt, capsys: Any) -> None:
    assert silt("redrive", "sales/orders", "--yes") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "orders-0 offset 4: the value is not valid JSON" in out
    assert "of 4 dead letters, 3 became rows, 0 were dropped by a rule, 1 stay rejected." in out
    assert "1 open dead letter remains." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--offsets", "0-5"], "--offsets is '0-5'. Expected a range such as 0:100-200"),
        (["--offsets", "0:9-5"], "5 is before 9"),
        (["--since", "yesterday"], "--since is 'yesterday'. Expected a time such as"),
        (["--until", "2026-13-01"], "--until is '2026-13-01'"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--since", "999999d"], "--since is '999999d'"),
        (["--partition", "99999999999"], "Kafka has no such partition"),
        (["--offsets", "0:99999999999999999999"], "Kafka has no such partition or offset"),
    ],
)
def test_wrong_option_is_named(silt: Silt, capsys: Any, arguments: list[str], message: str) -> None:
    assert silt("redrive", "sales/orders", "--yes", *arguments) == 2
    assert message in capsys.readouterr().err


def test_table_without_a_contract_is_refused(silt: Silt, tmp_path: Path, capsys: Any) -> None:
    assert silt("redrive", "sales/order", "--yes") == 2
    assert "No contract of" in capsys.readouterr().err
    assert silt("redrive", str(tmp_path / "elsewhere"), "--yes") == 2
    assert "dead letters are redriven by a contract" in capsys.readouterr().err


def test_times_are_moments_or_so_long_ago() -> None:
    moment = round(datetime(2026, 11, 25, 10, tzinfo=UTC).timestamp() * 1_000_000)
    for text in ("2026-11-25T10:00Z", "2026-11-25T10:00", "2026-11-25T11:00+01:00"):
        assert parse_time(text, "--since") == moment
    two_hours = (datetime.now(UTC) - timedelta(hours=2)).timestamp() * 1_000_000
    assert abs(parse_time("2h", "--since") - two_hours) < 60_000_000


def test_taking_the_table_over_is_said_and_refused_for_a_deployment(
    silt: Silt, tmp_path: Path, capsys: Any
) -> None:
    assert silt("redrive", "sales/orders", "--dry-run") == 1
    assert "To redrive takes the table over" in " ".join(capsys.readouterr().err.split())
    contract = tmp_path / "contracts" / "contract.yaml"
    deployment = tmp_path / "deploy.yml"
    deployment.write_text(
        f"name: silt\nregion: eu-central-1\ntable_root: s3://lake\ncontracts: {contract.parent}\n"
        "msk: {cluster_arn: 'arn:aws:kafka:eu-central-1:123456789012:cluster/demo/"
        "7b0a2e6d-1111-2222-3333-444455556666-7'}\n"
        "topics: [{topic: orders}]\n"
    )
    given = ["redrive", "sales/orders", "--yes", "--deployment", str(deployment)]
    assert main([*given, "--table-root", str(tmp_path / "tables")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "the contract here is not the one that is deployed. Nothing was redriven" in said
    assert ids(tmp_path) == [(0,), (1,)]


def test_audit_and_status_speak_of_open_letters(silt: Silt, tmp_path: Path, capsys: Any) -> None:
    uri = str(tmp_path / "tables" / "sales" / "orders")
    assert audit(uri).findings == []
    silt("redrive", "sales/orders", "--yes")
    result = audit(uri)
    assert (result.findings, result.notes) == ([], [])
    capsys.readouterr()
    assert silt("audit", "sales/orders") == 0
    assert "6 records, each once" in capsys.readouterr().out
    assert silt("audit", "sales/orders", "--json") == 0
    (part,) = json.loads(capsys.readouterr().out)[0]["partitions"]
    assert (part["rows"], part["dead_letters"], part["open_dead_letters"]) == (5, 4, 1)
    assert silt("status", "sales/orders", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["open_dead_letters"] == 1


def test_audit_finds_an_unfinished_redrive_and_the_next_one_ends_it(
    silt: Silt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "tables" / "sales" / "orders")

    def interrupt(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(redriver_module.Redriver, "_close", interrupt)
        assert silt("redrive", "sales/orders", "--yes") == 130
    (finding,) = audit(uri).findings
    assert (finding.code, finding.ranges) == ("unfinished_redrive", [(2, 3), (5, 5)])
    assert "run silt redrive to close them" in finding.message
    silt("redrive", "sales/orders", "--yes")
    assert audit(uri).findings == []
    assert ids(tmp_path) == [(i,) for i in (0, 1, 2, 3, 5)]


def test_audit_passes_when_redriven_letters_have_expired(silt: Silt, tmp_path: Path) -> None:
    """Their rows may be above the table's watermark, and the commit says what a rule dropped."""
    uri = str(tmp_path / "tables" / "sales" / "orders")
    contract = tmp_path / "contracts" / "contract.yaml"
    strict = function_for(tmp_path, STRICT + "on_tombstone: dead_letter\n")
    tail = [record(7), record(8), record(9, {"id": 9, "name": LONG}), record(10)]
    strict.handle(event(tail), None)
    contract.write_text(RULES + "maintenance: {dead_letters: {expire: 1d}}\n")
    assert silt("redrive", "sales/orders", "--yes") == 1
    assert audit(uri).findings == []
    settings = {"table_root": str(tmp_path / "tables"), "contracts": str(contract.parent)}
    later = FakeClock(int(time.time() * 1000) + 3 * 86_400_000)
    for _ in range(2):
        Maintenance(Settings(**settings), clock=later).handle({}, None)
        left = rows_of_folder(Path(f"{uri}__dead_letters"), '"offset", redriven_as')
        assert left == [(4, None)]
    result = audit(uri)
    assert result.findings == []
    assert any("dead letters were redriven, and have expired" in note for note in result.notes)


def test_audit_finds_a_closed_letter_without_its_row(silt: Silt, tmp_path: Path) -> None:
    from deltalake import DeltaTable

    uri = str(tmp_path / "tables" / "sales" / "orders")
    silt("redrive", "sales/orders", "--yes")
    DeltaTable(uri).delete("_kafka_offset = 3")
    (finding,) = audit(uri).findings
    assert (finding.code, finding.ranges) == ("redriven_row_missing", [(3, 3)])


def test_file_that_cannot_be_rewritten_is_named_and_the_others_are_redriven(
    silt: Silt, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handler.delta.active.ActiveFile.is_rewritable", property(lambda _: False))
    assert silt("redrive", "sales/orders", "--yes") == 1
    captured = capsys.readouterr()
    assert "has a deletion vector or is outside the table" in captured.err
    assert ids(tmp_path) == [(0,), (1,)]
