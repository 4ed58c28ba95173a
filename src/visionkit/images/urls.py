"""The text of a URL becomes its parts, or is refused: what two parsers could read differently goes to neither."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import urljoin

import idna

from ..errors import FetchError

_PORTS: Final = {"http": 80, "https": 443}
_PARTS = re.compile(r"([A-Za-z]+)://([^/?#]*)([^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@%]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\]")


@dataclass(frozen=True)
class Url:
    """A URL that has passed.

    Attributes:
        scheme: `http` or `https`.
        host: lower case, ASCII; an IPv6 address without brackets; no dot at the end.
        port: 1–65535.
        target: path and query, as a request's first line wants them.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str, name: str) -> Url:
        """Where a redirection leads.

        Raises:
            FetchError: to what is no URL, or from https to http.
        """
        _check_text(location, name)  # urljoin would drop tabs and newlines
        if _SCHEME.match(location):
            text = location  # urljoin takes http:path and http:///path for relative, browsers do not
        elif location.startswith("//"):
            text = f"{self.scheme}:{location}"
        else:
            text = urljoin(f"{self.scheme}://{self.authority}{self.target}", location)
        url = parse_url(text, name)
        if self.scheme == "https" and url.scheme == "http":
            raise FetchError(f"cannot load {name}: it redirects from https to http, which is not followed")
        return url


def parse_url(text: str, name: str) -> Url:
    """An http or https URL as its parts; `name` stands for it in errors, without its secrets.

    Raises:
        FetchError: another scheme, or anything that is not plainly a URL.
    """
    _check_text(text, name)
    parts = _PARTS.fullmatch(text)
    if parts is None or parts[1].lower() not in _PORTS:
        raise FetchError(f"cannot load {name}: only URLs that begin with http:// or https:// are fetched")
    scheme, authority, target = parts[1].lower(), parts[2], parts[3]
    if "@" in authority:
        raise FetchError(f"cannot load {name}: a URL with a user or password is not fetched")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise FetchError(f"cannot load {name}: its host or port is malformed")
    port = int(found[2] or _PORTS[scheme])
    if not 1 <= port <= 65535:
        raise FetchError(f"cannot load {name}: its port must be 1–65535")
    if not target.isascii():
        raise FetchError(f"cannot load {name}: it has characters that must be percent-encoded")
    return Url(scheme, _host(found[1], name), port, target if target.startswith("/") else f"/{target}")


def _check_text(text: str, name: str) -> None:
    if _FORBIDDEN.search(text) or "%00" in text:
        raise FetchError(
            f"cannot load {name}: a URL must have no spaces, backslashes or control characters; percent-encode them"
        )


def _host(text: str, name: str) -> str:
    """A host name in ASCII, or an IPv6 address; numbers of other shapes are the resolver's to read."""
    try:
        if text.startswith("["):
            return str(IPv6Address(text[1:-1]))
        labels = [
            label.lower() if label.isascii() else idna.alabel(label.lower()).decode("ascii")
            for label in text.removesuffix(".").split(".")
        ]
    except ValueError:  # idna's errors are UnicodeErrors
        labels = []
    if not labels or sum(map(len, labels)) + len(labels) > 254 or not all(map(_LABEL.fullmatch, labels)):
        raise FetchError(f"cannot load {name}: its host is no possible name or address")
    return ".".join(labels)
