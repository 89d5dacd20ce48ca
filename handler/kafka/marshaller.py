"""The seam to the Lambda runtime client: events come as decoded records instead of as dicts.

The client parses each event by simplejson into dicts of base64 text, which takes longer than all
that Silt does with a small record, and AWS bills it. Its class attribute `marshaller` is documented
in its source as there to be overridden: `awslambdaric.lambda_runtime_client`, from 2.0 on.
"""

import sys
from typing import Any

from handler.kafka.event import decode_event

CLIENT = "awslambdaric.lambda_runtime_client"
MAJORS = ("2", "3", "4")
"""The versions of the client whose source has the seam. With any other, events are dicts."""


class Marshaller:
    """Decodes Kafka events by type, and leaves everything else to the client's own marshaller."""

    def __init__(self, own: Any) -> None:
        self._own = own
        self.marshal_response = own.marshal_response

    def unmarshal_request(self, request: Any, content_type: str = "application/json") -> Any:
        """Return a KafkaEvent, or what the client would have returned."""
        if content_type == "application/json":
            event = decode_event(request)
            if event is not None:
                return event
        # What is wrong with a broken event, or another command, is read from the dict.
        return self._own.unmarshal_request(request, content_type)


def install_marshaller() -> bool:
    """Replace the marshaller of the runtime client, where this process is one that has the seam.

    Returns whether events are decoded by type from now on; it can be called again.
    """
    client = sys.modules.get(CLIENT)
    package = sys.modules.get(CLIENT.partition(".")[0])
    if client is None or str(getattr(package, "__version__", "")).split(".")[0] not in MAJORS:
        return False
    owners = [
        kind for kind in vars(client).values() if "marshaller" in getattr(kind, "__dict__", ())
    ]
    for owner in owners:
        own = owner.marshaller
        if not isinstance(own, Marshaller):
            if not _is_known(own):
                return False
            owner.marshaller = Marshaller(own)
    return bool(owners)


def _is_known(own: Any) -> bool:
    """Return whether a marshaller does what ours hands on to it."""
    try:
        return bool(
            own.unmarshal_request(b'{"a": [1]}', "application/json") == {"a": [1]}
            and own.marshal_response({"a": [1]})[1] == "application/json"
        )
    except Exception:  # whatever it is, it is not what was documented
        return False
