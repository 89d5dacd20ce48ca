"""A contract as it judges records one by one: without what is about whole batches."""

from msgspec.structs import replace

from handler.contract.contract import CircuitBreaker, Contract

_NO_CIRCUIT_BREAKER = CircuitBreaker(ratio=1, min_records=1)


def without_stops(contract: Contract) -> Contract:
    """Return a contract that stops at nothing: `on_invalid: fail` and the circuit breaker are about
    new records that may be delivered again.
    """
    on_invalid = "dead_letter" if contract.on_invalid == "fail" else contract.on_invalid
    return replace(contract, on_invalid=on_invalid, circuit_breaker=_NO_CIRCUIT_BREAKER)
