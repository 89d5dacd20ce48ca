"""What names of fields say of their values: a number alone does not say what it counts."""

import re

TIME_NAME = re.compile(
    r"(?:^|_|\b)(?:at|ts|time|timestamp|date|datetime|created|updated|modified|epoch|millis|nanos)$"
    r"|(?:At|Ts|Time|Timestamp|Date|Millis|Nanos)$|^(?:timestamp|time|ts|epoch)",
)
SPAN_NAME = re.compile(
    r"cpu|response|elapsed|play|duration|latency|uptime|wait|run_?time|session|spent|taken|total"
    r"|timeout|interval|ttl",
    re.IGNORECASE,
)
"""Times that do not count from 1970."""
DATA_NAME = re.compile(
    r"(?:^|_)(?:data|payload|content|body|blob|binary|bytes|base64|b64|image|raw|cert|pdf)$"
    r"|(?:Data|Payload|Content|Body|Blob|Bytes|Image|Base64)$"
)
AMOUNT_NAME = re.compile(
    r"price|amount|total|cost|fee|tax|rate|balance|subtotal|discount|revenue|value|qty|quantity"
    r"|weight|lat|lon|lng|percent|ratio|score|btc|eth|usd|eur",
    re.IGNORECASE,
)
VERSION_NAME = re.compile(
    r"version|release|section|build|firmware|chapter|(?:^|_)(?:ver|fw|os|id)(?:$|_)|hhmm|time",
    re.IGNORECASE,
)
