"""Where a key comes from, and where it may go."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from ..errors import AuthenticationError, InputError

NO_KEY = SecretStr("no-key-needed")
"""What is sent to a server on this machine that wants no key: the SDK insists on one."""


def find_key(api_key: str | SecretStr | None, variable: str, model: str) -> SecretStr:
    """The key that was given, else the one in the environment.

    Raises:
        AuthenticationError: there is none, or it is not of printable ASCII characters. The message does not quote it.
    """
    given: object = SecretStr(api_key) if isinstance(api_key, str) else api_key
    key = SecretStr(os.environ.get(variable, "")) if given is None else given
    if not isinstance(key, SecretStr) or not _is_text(key.get_secret_value()):
        raise AuthenticationError(f"{model}: api_key= must be a string, not {type(api_key).__name__}")
    key = SecretStr(key.get_secret_value().strip())  # a file's last line ends in a newline
    if not key.get_secret_value():
        raise AuthenticationError(
            f"{model} needs an API key: set the environment variable {variable}, or give api_key="
        )
    if not _KEY.fullmatch(key.get_secret_value()):  # the transport would log it, and quote it in its error
        where = variable if given is None else "api_key="
        raise AuthenticationError(
            f"{model}: {where} holds no API key: one has printable ASCII characters only, no accent and no line break; "
            "copy it again"
        )
    return key


_KEY: Final = re.compile("[\x20-\x7e]+")
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


def _is_text(value: object) -> bool:
    return isinstance(value, str)  # a SecretStr takes anything


def check_base_url(url: str, model: str) -> None:
    """Refuses an address that would show the key to others on the way.

    Raises:
        InputError: no address, no http or https, plain http to another machine, or a key inside the address.
    """
    if not isinstance(url, str):
        raise InputError(f"{model}: base_url must be a string, not {type(url).__name__}")
    parts = _split(url)
    if parts is None:
        raise InputError(f"{model}: base_url is no address: its host, port or brackets are malformed")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{model}: base_url must begin with https:// and name a host, or http:// on this machine")
    if parts.username or parts.password or parts.query:
        raise InputError(
            f"{model}: base_url must hold no user, password or query, which logs would show; give api_key="
        )
    if parts.scheme == "http" and not is_loopback(url):
        raise InputError(
            f"{model}: base_url http://{parts.hostname} would send the key and the pictures unencrypted; use https:// "
            "(http:// is for this machine alone)"
        )


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    parts = _split(url)
    host = (parts.hostname or "").rstrip(".") if parts else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    """The parts of an address; None where it is malformed, so that nothing after us stumbles over it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # both may raise
        if host and ":" in host:
            ipaddress.ip_address(host)
        elif host and not _HOST.fullmatch(host.encode("idna").decode("ascii")):
            return None
    except ValueError:  # UnicodeError is one
        return None
    return parts if url.isprintable() and " " not in url else None
