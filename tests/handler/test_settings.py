"""Settings: each bad or unknown variable is named, and nothing starts."""

import re

import pytest

from handler.errors import SettingsError
from handler.settings import Settings, read_settings

ROOT = {"SILT_TABLE_ROOT": "s3://lake/x"}


def test_defaults_are_those_of_the_page() -> None:
    settings = read_settings({**ROOT, "PATH": "/bin", "OTHER_SILT_X": "1"})
    assert settings == Settings(table_root="s3://lake/x")
    assert (settings.contracts, settings.source, settings.generation) == ("schemas", None, 0)
    assert (settings.partial_batch_response, settings.dry_run, settings.health_check) == (
        True,
        False,
        False,
    )
    assert (settings.deadline_margin_ms, settings.runtime_limit_s) == (3000, 840)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SILT_DEADLINE_MARGIN_MS", "3s", "Expected a whole number of milliseconds, such as 3000."),
        ("SILT_DEADLINE_MARGIN_MS", "-1", "SILT_DEADLINE_MARGIN_MS is '-1'"),
        ("SILT_RUNTIME_LIMIT_S", "901", "from 1 to 900"),
        ("SILT_GENERATION", "one", "Expected a whole number from 0"),
        ("SILT_GENERATION", "", "SILT_GENERATION is ''"),
        ("SILT_GENERATION", "1000001", "SILT_GENERATION is '1000001'"),
        ("SILT_GENERATION", "1.5", "Expected a whole number from 0"),
        ("SILT_GENERATION", "1e3", "Expected a whole number from 0"),
        ("SILT_GENERATION", "1_0", "Expected a whole number from 0"),
        ("SILT_GENERATION", "9" * 400, "Expected a whole number from 0"),
        ("SILT_DRY_RUN", "maybe", "Expected true or false"),
        ("SILT_DRY_RUN", "", "SILT_DRY_RUN is ''"),
        ("SILT_CONTRACTS", "", "Expected a folder"),
        ("SILT_TOPICS", "orders,", "Expected names of topics, such as orders,clicks"),
        ("SILT_TOPICS", "a b", "SILT_TOPICS is 'a b'"),
        ("SILT_NAME", "x" * 101, "1 to 100 of A-Z"),
        ("SILT_NAME", "a\n", "1 to 100 of A-Z"),
        ("SILT_TABLE_ROOT", "s3://a b", "Expected a place such as s3://bucket/prefix."),
        ("SILT_SOURCE", "a/b", "1 to 100 of A-Z"),
        ("SILT_LOG_LEVEL", "loud", "Expected DEBUG, INFO, WARNING or ERROR"),
        ("SILT_TABLE_ROOT", "", "SILT_TABLE_ROOT is ''"),
        (
            "SILT_TABEL_ROOT",
            "x",
            "There is no variable SILT_TABEL_ROOT. Did you mean SILT_TABLE_ROOT?",
        ),
    ],
)
def test_bad_variable_stops_the_start_with_its_name(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        read_settings({**ROOT, name: value})
    assert name in str(caught.value)
    assert str(caught.value).endswith("The function did not start; nothing was read.")


def test_missing_root_and_another_problem_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"SILT_DRY_RUN": "x"})
    assert "SILT_TABLE_ROOT is not set" in str(caught.value)
    assert "SILT_DRY_RUN is 'x'" in str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("FALSE", False), ("1", True), ("no", False), (" on", True), ("N", False)],
)
def test_words_for_yes_and_no(word: str, value: bool) -> None:
    assert read_settings({**ROOT, "SILT_DRY_RUN": word}).dry_run is value


@pytest.mark.parametrize("text", ["7", " 7", "7\n", "+7", "007"])
def test_whole_numbers_as_people_and_templates_write_them(text: str) -> None:
    assert read_settings({**ROOT, "SILT_GENERATION": text}).generation == 7
