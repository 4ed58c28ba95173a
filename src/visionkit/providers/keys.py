"""Where a key comes from, and where it may go."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..errors import AuthenticationError, InputError

NO_KEY = SecretStr("no-key-needed")
"""What is sent to a server on this machine that wants no key: the SDK insists on one."""


def find_key(api_key: str | SecretStr | None, variable: str, model: str) -> SecretStr:
    """The key that was given, else the one in the environment.

    Raises:
        AuthenticationError: there is none.
    """
    given = SecretStr(api_key) if isinstance(api_key, str) else api_key
    key = given if given is not None else SecretStr(os.environ.get(variable, ""))
    if not key.get_secret_value().strip():
        raise AuthenticationError(
            f"{model} needs an API key: set the environment variable {variable}, or give api_key="
        )
    return key


def check_base_url(url: str, model: str) -> None:
    """Refuses an address that would show the key to others on the way.

    Raises:
        InputError: no http or https, plain http to another machine, or a key inside the address.
    """
    parts = urlsplit(url)
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
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
