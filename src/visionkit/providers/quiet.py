"""Keeps pictures out of the logs of the vendors' SDKs.

At DEBUG, anthropic (2.13 too) and older openai log whole request bodies, with every picture in base64. We change no
logging but this: a filter on that one logger of the SDK, which cuts the bodies of our own calls and touches no others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_calling: ContextVar[bool] = ContextVar("visionkit_calling", default=False)


def _cut_body(record: logging.LogRecord) -> bool:
    if _calling.get() and str(record.msg).startswith("Request options"):
        record.msg, record.args = "Request options: cut by visionkit", ()
    return True


def install(package: str) -> None:
    """Puts the filter on the SDK's logger, once: a logger does not take the same filter twice."""
    logging.getLogger(f"{package}._base_client").addFilter(_cut_body)


@contextmanager
def quietly() -> Iterator[None]:
    """Marks what the SDK logs in here as ours."""
    token = _calling.set(True)
    try:
        yield
    finally:
        _calling.reset(token)
