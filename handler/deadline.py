"""How long one invocation may go on."""

from typing import Any

from handler.settings import Settings


def limit_s(settings: Settings, context: Any) -> float:
    """Return the seconds that an invocation has: Lambda's less the margin, capped by the limit.

    Outside Lambda `context` has no `get_remaining_time_in_millis`, and the limit alone holds.
    """
    seconds = float(settings.runtime_limit_s)
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return seconds
    return min(seconds, float(remaining() - settings.deadline_margin_ms) / 1000)
