"""The models hold, and each broken rule has a run that shows why the rule is there."""

import pytest

from tests.model import compare_and_swap, two_versions

BATCHES = [
    [{0, 1}, {0, 1}],
    [{0, 1}, {1, 2}, {3}],
    [{5}, {0, 1}, {1, 2}],
    [{0}, {1}, {0, 1}],
]

GENERATIONS = [
    ([{0, 1}, {0, 1, 2}], (0, 1)),
    ([{0, 1}, {1, 2}, {0, 2}], (0, 1, 1)),
    ([{0}, {0, 1}, {0, 1}], (0, 1, 2)),
]


@pytest.mark.parametrize("batches", BATCHES)
def test_no_record_stands_twice_and_none_is_lost(batches: list[set[int]]) -> None:
    count, way = compare_and_swap.check(batches)
    print(f"{batches}: {count} states")
    assert not way
    assert count > 50


@pytest.mark.parametrize("rule", compare_and_swap.RULES[1:])
def test_broken_rule_loses_or_doubles_a_record(rule: str) -> None:
    ways = [compare_and_swap.check(batches, rule)[1] for batches in BATCHES]
    ways += [compare_and_swap.check(b, rule, g)[1] for b, g in GENERATIONS]
    assert any(ways)


@pytest.mark.parametrize(("batches", "generations"), GENERATIONS)
def test_raised_generation_doubles_no_record(
    batches: list[set[int]], generations: tuple[int, ...]
) -> None:
    """The same records, given to functions of two generations at once: the alarm was false."""
    count, way = compare_and_swap.check(batches, generations=generations)
    print(f"{batches} in {generations}: {count} states")
    assert not way
    assert count > 50


@pytest.mark.parametrize("contracts", [[0, 1], [0, 1, 0], [1, 0, 1]])
def test_two_versions_put_a_record_into_one_table(contracts: list[int]) -> None:
    count, way = two_versions.check(contracts)
    print(f"{contracts}: {count} states")
    assert not way
    assert count > 100


@pytest.mark.parametrize("rule", two_versions.RULES[1:])
def test_broken_term_puts_the_record_into_both_tables(rule: str) -> None:
    ways = [two_versions.check(contracts, rule)[1] for contracts in ([0, 1], [0, 1, 0])]
    assert any(ways), rule
