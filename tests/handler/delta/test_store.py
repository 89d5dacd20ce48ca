"""Foreign errors become ours in one place, and only what may pass is tried again."""

import obstore.exceptions
import pytest

from handler.delta.pool import Pool
from handler.delta.store import open_store
from handler.delta.store_errors import translate
from handler.errors import (
    AccessDenied,
    AlreadyExists,
    BadStore,
    NotFound,
    StoreError,
    Unavailable,
)

EXPECTED = {
    "AlreadyExistsError": AlreadyExists,
    "BaseError": Unavailable,
    "GenericError": Unavailable,
    "InvalidPathError": BadStore,
    "JoinError": Unavailable,
    "NotFoundError": NotFound,
    "NotModifiedError": Unavailable,
    "NotSupportedError": BadStore,
    "PermissionDeniedError": AccessDenied,
    "PreconditionError": AlreadyExists,
    "UnauthenticatedError": AccessDenied,
    "UnknownConfigurationKeyError": BadStore,
}


def test_every_error_of_the_library_has_one_of_ours() -> None:
    names = {name for name in dir(obstore.exceptions) if name.endswith("Error")}
    assert names == set(EXPECTED), "the library has other errors now: decide what they mean"
    for name, ours in EXPECTED.items():
        theirs = getattr(obstore.exceptions, name)
        error = translate(theirs("what it said\nmore"), "put x", conditional=True)
        assert type(error) is ours, name


@pytest.mark.parametrize("name", ["AlreadyExistsError", "PreconditionError"])
def test_conflict_where_no_condition_was_set_may_pass(name: str) -> None:
    """AWS answers 409 when operations on one key meet; to a plain put it says nothing."""
    theirs = getattr(obstore.exceptions, name)
    assert type(translate(theirs("409"), "put x")) is Unavailable


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        (301, BadStore),
        (400, BadStore),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, NotFound),
        (405, BadStore),
        (408, Unavailable),
        (409, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_status_that_the_library_does_not_name_decides(status: int, ours: type[StoreError]) -> None:
    text = f"Server returned non-2xx status code: {status} Some: <?xml ...\n<Code>C</Code>"
    error = translate(obstore.exceptions.GenericError(text), "list x")
    assert type(error) is ours
    assert "(C)" in str(error)


def test_errors_of_the_file_system_are_ours_too(tmp_path) -> None:
    assert type(translate(PermissionError("no"), "put x")) is AccessDenied
    assert type(translate(OSError("disk full"), "put x")) is Unavailable
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = open_store(str(blocked / "below"))
    with pytest.raises(StoreError):
        store.put("a", b"x")


def test_local_store_does_what_a_table_needs(tmp_path) -> None:
    store = open_store(f"file://{tmp_path}/some table")
    assert store.list("_delta_log", "_delta_log/") == []
    with pytest.raises(NotFound):
        store.get("a")
    assert not (tmp_path / "some table").exists(), "a look makes no folder"
    tag = store.put_if_absent("_delta_log/1.json", b"one")
    with pytest.raises(AlreadyExists):
        store.put_if_absent("_delta_log/1.json", b"two")
    assert store.head("_delta_log/1.json") == tag == store.get("_delta_log/1.json").e_tag
    store.put("_delta_log/2.json", b"0123456789")
    assert [e.key for e in store.list("_delta_log", "_delta_log/1.json")] == ["_delta_log/2.json"]
    assert store.list("_delta_log", "_delta_log/")[0].e_tag == tag
    assert store.get_ranges("_delta_log/2.json", [(0, 2), (8, 10)]) == [b"01", b"89"]


@pytest.mark.parametrize("name", ["AWS_CONDITIONAL_PUT", "AWS_S3_ALLOW_UNSAFE_RENAME"])
def test_option_that_makes_puts_unsafe_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "disabled")
    with pytest.raises(BadStore, match=name):
        open_store("s3://lake/x")


def test_place_of_no_known_kind_is_refused() -> None:
    with pytest.raises(BadStore, match="cannot be opened"):
        open_store("nonsense://lake/x")


def test_directory_bucket_is_refused() -> None:
    with pytest.raises(BadStore, match="Expected a general purpose bucket"):
        open_store("s3://lake--use1-az4--x-s3/x")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://lake/a%20b", "has '%'"),
        ("s3://lake/a#b", "has '#'"),
        ("s3://lake/a?b", "has '\\?'"),
        ("s3://lake//a", "an empty folder"),
        ("s3://lake/a//b", "an empty folder"),
        ("s3://lake/./a", "or '..'"),
        ("s3://lake/a/../../b", "or '..'"),
    ],
)
def test_place_that_a_url_reads_otherwise_is_refused(uri: str, why: str) -> None:
    """`a b`, `a` and `b` would be the folders: not where a role may write."""
    with pytest.raises(BadStore, match=why):
        open_store(uri)


def test_place_that_is_read_as_written_is_opened() -> None:
    for folder in ("", "/", "/a", "/a/", "/a+b=c@d:e,f", "/ä/x~!'()&"):
        store = open_store(f"s3://lake{folder}")
        assert (store._store.prefix or "").strip("/") == folder.strip("/")


def test_request_that_does_not_answer_in_time_is_unavailable() -> None:
    import threading

    release = threading.Event()
    pool = Pool(2)
    with pytest.raises(Unavailable, match="No answer within"):
        pool.one(lambda: release.wait(20), 0.05)
    release.set()
    assert pool.at_once([lambda: 1, lambda: 2], 5) == [1, 2]


def test_requests_that_hang_share_one_time() -> None:
    import threading
    import time

    release = threading.Event()
    pool = Pool(40)
    begun = time.monotonic()
    answers = pool.at_once([lambda: release.wait(60)] * 40, 0.5)
    took = time.monotonic() - begun
    release.set()
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert took < 15, "forty times one wait would be 20 s"
