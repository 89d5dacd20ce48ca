"""How long a table keeps files and commits: the contract's word, else the table's, never below a
day.
"""

import pytest
from msgspec.structs import replace

from handler.contract.compile_upkeep import default_upkeep
from handler.contract.upkeep import DAY_MS
from handler.upkeep.properties import CLEANUP, FILES, LOG, retention

UPKEEP = default_upkeep()


def test_table_without_properties_keeps_deltas_defaults_and_is_not_changed() -> None:
    held = retention(UPKEEP, {})
    assert (held.files_ms, held.log_ms) == (7 * DAY_MS, 30 * DAY_MS)
    assert held.properties == {}
    assert held.why_not_clean is None


def test_contract_that_says_nothing_leaves_the_tables_own() -> None:
    held = retention(UPKEEP, {FILES: "interval 2 weeks", LOG: "interval 48 hours"})
    assert (held.files_ms, held.log_ms) == (14 * DAY_MS, 2 * DAY_MS)
    assert held.properties == {}


def test_contract_overrides_the_table_and_is_set_on_it() -> None:
    upkeep = replace(UPKEEP, retain_ms=2 * DAY_MS, log_retain_ms=3 * DAY_MS)
    held = retention(upkeep, {FILES: "interval 9 days"})
    assert (held.files_ms, held.log_ms) == (2 * DAY_MS, 3 * DAY_MS)
    assert held.properties == {FILES: "interval 48 hours", LOG: "interval 72 hours"}
    assert retention(upkeep, held.properties).properties == {}


def test_contract_that_names_the_default_sets_nothing() -> None:
    upkeep = replace(UPKEEP, retain_ms=7 * DAY_MS, log_retain_ms=30 * DAY_MS)
    assert retention(upkeep, {}).properties == {}


@pytest.mark.parametrize("text", ["interval 0 hours", "interval 23 hours", "interval 5 minutes"])
def test_table_that_wants_less_than_a_day_is_given_a_day(text: str) -> None:
    held = retention(UPKEEP, {FILES: text, LOG: text})
    assert held.files_ms == DAY_MS
    # The engine cleans the log by the property itself, so it is not asked to.
    assert held.why_not_clean is not None
    assert text in held.why_not_clean


def test_time_that_is_no_whole_hour_is_set_once() -> None:
    upkeep = replace(UPKEEP, retain_ms=1530 * 60_000, log_retain_ms=2000 * 60_000)
    held = retention(upkeep, {})
    assert held.properties == {FILES: "interval 26 hours", LOG: "interval 34 hours"}
    assert retention(upkeep, held.properties).properties == {}


def test_interval_that_cannot_be_read_is_no_reason_to_delete() -> None:
    held = retention(UPKEEP, {FILES: "interval 2 weeks 3 days", LOG: "interval 1 month"})
    assert "interval 2 weeks 3 days" in (held.why_not_vacuum or "")
    assert "interval 1 month" in (held.why_not_clean or "")


def test_table_that_forbids_cleaning_is_not_cleaned() -> None:
    assert "false" in (retention(UPKEEP, {CLEANUP: "False"}).why_not_clean or "")
    assert retention(UPKEEP, {CLEANUP: "true"}).why_not_clean is None
