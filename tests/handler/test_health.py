"""Whether a store could be appended to: each thing that can be wrong is told with its fix."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.delta.log import Snapshot
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.errors import (
    AccessDenied,
    BadStore,
    BrokenLog,
    NotFound,
    OutOfTime,
    SettingsError,
    SourceMismatch,
    TableMismatch,
    Unavailable,
)
from handler.health import Finding, answer, describe, healthy, of_store, of_table

CHECKS = ["conditional put", "put", "get", "missing object", "list", "clock"]


class Troubled:
    """A store of a local folder, of which one verb does something else."""

    def __init__(self, folder: Path, **other: Callable[..., Any]) -> None:
        self._store = open_store(str(folder))
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return self._other.get(name) or getattr(self._store, name)


def refuse(error: Exception) -> Callable[..., Any]:
    def verb(*_arguments: Any) -> Any:
        raise error

    return verb


def look(store: Any) -> dict[str, Finding]:
    clock = SystemClock()
    deadline = Deadline(clock, clock.monotonic() + 30)
    return {finding.check: finding for finding in of_store("t", store, Pool(), deadline)}


def test_good_store_is_ok_and_keeps_one_empty_object(tmp_path: Path) -> None:
    for _again in range(2):
        found = look(Troubled(tmp_path / "t"))
        assert list(found) == CHECKS
        assert {finding.state for finding in found.values()} == {"ok"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [(path.name, path.stat().st_size) for path in files] == [("probe", 0)]


def test_store_that_ignores_the_condition_is_wrong(tmp_path: Path) -> None:
    found = look(Troubled(tmp_path, put_if_absent=lambda _key, _data: "etag"))
    assert found["conditional put"].state == "wrong"
    assert "two writers would overwrite each other" in found["conditional put"].reason
    assert "If-None-Match" in found["conditional put"].fix


@pytest.mark.parametrize(
    ("verb", "check", "permission"),
    [
        ("put_if_absent", "conditional put", "s3:PutObject"),
        ("put", "put", "s3:PutObject"),
        ("get", "get", "s3:GetObject"),
        ("list", "list", "s3:ListBucket"),
    ],
)
@pytest.mark.parametrize("error", [AccessDenied("403"), BadStore("301")])
def test_verb_that_fails_is_named_with_its_permission(
    verb: str, check: str, permission: str, error: Exception, tmp_path: Path
) -> None:
    found = look(Troubled(tmp_path, **{verb: refuse(error)}))
    assert found[check].state == "wrong"
    assert str(error) in found[check].reason
    is_denied = isinstance(error, AccessDenied)
    assert (permission if is_denied else "bucket, region, and the route") in found[check].fix


def test_request_that_failed_once_is_made_again(tmp_path: Path) -> None:
    """A first put that is lost is no sign that the store ignores the condition."""
    store, calls = open_store(str(tmp_path)), []

    def put_if_absent(key: str, data: bytes) -> Any:
        calls.append(key)
        if len(calls) == 1:
            raise Unavailable("503")
        return store.put_if_absent(key, data)

    found = look(Troubled(tmp_path, put_if_absent=put_if_absent))
    assert {finding.state for finding in found.values()} == {"ok"}
    assert len(calls) == 3


def test_store_that_does_not_answer_is_not_known(tmp_path: Path) -> None:
    verbs = ("put_if_absent", "put", "get", "list")
    found = look(Troubled(tmp_path, **{verb: refuse(Unavailable("503")) for verb in verbs}))
    assert {finding.state for finding in found.values()} == {"unknown"}
    assert "clock" not in found
    clock = SystemClock()
    late = Deadline(clock, clock.monotonic() - 1)
    response = list(of_store("t", open_store(str(tmp_path / "late")), Pool(), late))
    assert {finding.state for finding in response} == {"unknown"}
    assert not (tmp_path / "late").exists()


def test_clock_is_not_judged_by_a_probe_of_another_day(tmp_path: Path) -> None:
    look(Troubled(tmp_path))
    (probe,) = [path for path in tmp_path.rglob("probe") if path.is_file()]
    os.utime(probe, (1_000_000, 1_000_000))
    found = look(Troubled(tmp_path, put=refuse(AccessDenied("403"))))
    assert found["put"].state == "wrong"
    assert "clock" not in found


def test_contract_that_cannot_be_compiled_stops_no_other_topic() -> None:
    found = of_table("t", refuse(RecursionError("deep")))
    assert (found.state, found.reason) == ("wrong", "RecursionError: deep")
    assert found.fix


def test_missing_object_that_is_answered_by_403_is_wrong(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))

    def get(key: str) -> Any:
        if key.endswith("missing"):
            raise AccessDenied("403")
        return store.get(key)

    found = look(Troubled(tmp_path, get=get))
    assert found["missing object"].state == "wrong"
    assert "StringLikeIfExists" in found["missing object"].fix
    assert found["get"].state == "ok"


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (AccessDenied("no"), "wrong", "s3:ListBucket"),
        (TableMismatch("t", ["long, not string"]), "wrong", "Fix the contract"),
        (BrokenLog("gap"), "wrong", "Fix the contract or the table"),
        (OutOfTime("late"), "unknown", "unreachable"),
        (Unavailable("503"), "wrong", "gateway endpoint"),
        (NotFound("404"), "wrong", "bucket"),
        (SettingsError("x"), "wrong", "bucket"),
        (SourceMismatch("two"), "wrong", "troubleshooting.md"),
    ],
)
def test_table_that_cannot_be_used_says_why(error: Exception, state: str, words: str) -> None:
    found = of_table("t", refuse(error))
    assert found.state == state
    assert str(error) in found.reason
    assert words in found.fix


def test_answer_is_healthy_unless_something_is_wrong() -> None:
    fine = [Finding("a", "b", "ok", "c"), Finding("a", "b", "warning", "c", "d")]
    assert healthy(fine)
    response = answer("0.1.0", [*fine, Finding("a", "b", "wrong", "c", "d")])
    assert response["healthy"] is False
    assert response["findings"][0] == {"check": "a", "subject": "b", "state": "ok", "reason": "c"}
    assert Finding(**response["findings"][2]) == Finding("a", "b", "wrong", "c", "d")


def test_missing_table_is_ok() -> None:
    assert describe(Snapshot()) == "does not exist yet; the first record creates it"
