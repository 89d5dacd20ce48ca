"""The function in a process that dies or freezes where the environment says."""

import os

from handler.app import lambda_handler
from tests.torture.steps import VARIABLE, Moment, install

__all__ = ["lambda_handler"]

for text in os.environ.get(VARIABLE, "").split():
    install(Moment.of(text))
