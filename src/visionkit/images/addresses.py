"""Which network addresses a URL may lead to, as tables: who fetches for others must not be led into its own network.

`ipaddress`'s own `is_global` is not enough: in Python 3.11 it is True for multicast, for site-local and documentation
addresses, for cloud metadata services on public addresses, and for IPv6 that carries a private IPv4 address inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

OWN: Final = frozenset({"loopback", "private", "shared", "benchmarking"})
"""Kinds that machines of one's own have: `allow_private=True` lets them pass, and no others."""

_PUBLIC: Final = "public"
_METADATA: Final = "cloud metadata"

# Sources: the vendors' documentation, collected 2026-11. They give credentials to whoever asks.
METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Google, Azure, DigitalOcean, Oracle, OpenStack and most others
            "169.254.170.2",  # AWS ECS tasks
            "169.254.170.23",  # AWS EKS pods
            "169.254.42.42",  # Scaleway
            "169.254.0.23",  # Tencent
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle, the older one
            "168.63.129.16",  # Azure's host
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS EKS pods
            "fd20:ce::254",  # Google
            "fd00:42::42",  # Scaleway
        ),
    )
)
"""Refused always, `allow_private` or not."""

# IANA's registries of special-purpose addresses, IPv4 and IPv6, as of 2026-11. What is not listed is public in IPv4,
# and reserved in IPv6 outside 2000::/3. Link-local stays refused: most metadata services are there.
_IPV4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),  # 6to4 relays, deprecated
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_IPV6: Final = tuple(  # the first that fits counts
    (IPv6Network(network), kind)
    for network, kind in (
        ("::1/128", "loopback"),
        ("::/128", "unspecified"),
        ("::ffff:0:0/96", _PUBLIC),  # IPv4-mapped: what is inside decides
        ("64:ff9b::/96", _PUBLIC),  # NAT64: the same
        ("64:ff9b:1::/48", "private"),  # NAT64 of one's own network
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # IETF protocols: Teredo, ORCHID, benchmarking
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("2000::/3", _PUBLIC),
        ("::/0", "reserved"),  # IPv4-compatible, site-local, discard, SRv6 and what is not given out
    )
)

_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_TEREDO: Final = IPv6Network("2001::/32")
_6TO4: Final = IPv6Network("2002::/16")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")

_RFC6052: Final = ((4, 5, 6, 7), (5, 6, 7, 9), (6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12))
"""Bytes of an IPv6 address that hold the IPv4 one under a NAT64 prefix of 32, 40, 48, 56 and 64 bits."""


def why_refused(address: str, *, allow_private: bool) -> str | None:
    """The kind of an address that must not be connected to, such as `"loopback"`, or None where it may be.

    Of several, by what it carries inside, one that is never allowed.

    Args:
        address: as `getaddrinfo` gives it; an IPv6 scope (`%eth0`) is not looked at.
        allow_private: whether the kinds of `OWN` may be.
    """
    try:
        kinds = set(_kinds(ip_address(address.partition("%")[0]))) - {_PUBLIC}
    except ValueError:
        return "unknown"
    return min(kinds - OWN, default=None) or (None if allow_private else min(kinds, default=None))


def _kinds(address: IPv4Address | IPv6Address) -> Iterator[str]:
    """What an address is, and what the IPv4 addresses inside it are."""
    if address in METADATA:
        yield _METADATA
    if isinstance(address, IPv4Address):
        yield next((kind for network, kind in _IPV4 if address in network), _PUBLIC)
        return
    yield next(kind for network, kind in _IPV6 if address in network)
    for inside in _inside(address):
        yield from _kinds(inside)
    for inside in _perhaps_inside(address):
        yield from (kind for kind in _kinds(inside) if kind in OWN or kind in (_METADATA, "link-local"))


def _inside(address: IPv6Address) -> Iterator[IPv4Address]:
    """IPv4 addresses that an IPv6 address certainly carries."""
    packed = address.packed
    if any(address in network for network in (_MAPPED, *_NAT64)):
        yield IPv4Address(packed[12:])
    if address in _6TO4:
        yield IPv4Address(packed[2:6])
    if address in _TEREDO:
        yield IPv4Address(packed[4:8])
        yield IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:]))
    if packed[8] & 0xFC == 0 and packed[9:12] == b"\x00\x5e\xfe":  # ISATAP
        yield IPv4Address(packed[12:])


def _perhaps_inside(address: IPv6Address) -> Iterator[IPv4Address]:
    """IPv4 addresses that an IPv6 address carries if a NAT64 of the network uses its prefix, which cannot be known."""
    packed = address.packed
    if packed[8:12] == bytes(4):
        yield IPv4Address(packed[12:])
    if packed[8] == 0:
        for places in _RFC6052:
            if not any(packed[max(places[-1], 8) + 1 :]):
                yield IPv4Address(bytes(packed[place] for place in places))
