"""An account that moto plays, over HTTP: for what runs in a process of its own, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer


@contextmanager
def moto_account() -> Iterator[dict[str, str]]:
    """Yield the variables that name the account; what was made there is gone afterwards."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    try:
        yield {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "eu-central-1",
        }
    finally:
        urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()
        server.stop()
