"""Which addresses are public, which are one's own, and which are refused whatever is asked for."""

import ipaddress

import pytest

from visionkit.images.addresses import METADATA, OWN, why_refused

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "1.1.1.1",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "168.63.129.15",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2a00:1450:4001:80b::200e",  # Google
    "2606:4700::6810:84e5",  # Cloudflare, which puts its own public IPv4 addresses inside
    "2a03:2880:f12f:83:face:b00c:0:25de",  # Facebook
    "2620:0:862:ed1a::1",  # Wikipedia
    "2600::",
    "2a01:4f8::dead:beef",
    "64:ff9b::808:808",  # 8.8.8.8 by NAT64: all that a network of IPv6 alone has
    "::ffff:8.8.8.8",
    "2002:808:808::1",
]
OWN_NETWORK = {
    "127.0.0.1": "loopback",
    "127.255.255.255": "loopback",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "172.16.0.0": "private",
    "172.31.255.255": "private",
    "192.168.0.0": "private",
    "192.168.255.255": "private",
    "100.64.0.0": "shared",
    "100.127.255.255": "shared",
    "198.18.0.0": "benchmarking",
    "198.19.255.255": "benchmarking",
    "::1": "loopback",
    "fc00::1": "private",
    "fdff:ffff::1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "::ffff:10.0.0.1": "private",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a00:1": "private",
    "64:ff9b:1::808:808": "private",
    "2002:7f00:1::": "loopback",
    "2002:c0a8:101::1": "private",
    "2606:4700::5efe:127.0.0.1": "loopback",  # ISATAP
    "2606:4700::200:5efe:10.0.0.1": "private",
    "2a01:4f8::10.0.0.5": "private",  # NAT64 prefixes of a network's own, of 96, 64 and 32 bits
    "2a01:4f8:1:2:a:0:500::": "private",
    "2a01:4f8:a00:5::": "private",
}
NEVER = {
    "0.0.0.0": "unspecified",  # noqa: S104 - not bound to
    "0.255.255.255": "unspecified",
    "169.254.0.1": "link-local",
    "169.254.255.255": "link-local",
    "192.0.0.1": "reserved",
    "192.0.2.1": "documentation",
    "198.51.100.1": "documentation",
    "203.0.113.255": "documentation",
    "192.88.99.1": "reserved",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::127.0.0.1": "reserved",
    "::8.8.8.8": "reserved",
    "100::1": "reserved",
    "2001::1": "reserved",
    "2001:0:808:808::f7f7:f7f7": "reserved",  # Teredo
    "2001:10::1": "reserved",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "reserved",
    "fe80::1": "link-local",
    "fe80::1%lo": "link-local",
    "febf::1": "link-local",
    "fec0::1": "reserved",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
    "::ffff:0.0.0.0": "unspecified",
    "::ffff:169.254.1.1": "link-local",
    "64:ff9b::e000:1": "multicast",
    "2002:e000:1::": "multicast",
    "localhost": "unknown",
    "": "unknown",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert why_refused(address, allow_private=False) is None
    assert why_refused(address, allow_private=True) is None


@pytest.mark.parametrize(("address", "kind"), OWN_NETWORK.items())
def test_ones_own_network_needs_asking(address, kind):
    assert kind in OWN
    assert why_refused(address, allow_private=False) == kind
    assert why_refused(address, allow_private=True) is None


@pytest.mark.parametrize(("address", "kind"), NEVER.items())
def test_never(address, kind):
    assert kind not in OWN
    assert why_refused(address, allow_private=False) == kind
    assert why_refused(address, allow_private=True) == kind


def nat64(prefix, bits, inside):
    """An IPv4 address under a NAT64 prefix, as RFC 6052 writes it."""
    packed = bytearray(ipaddress.IPv6Address(prefix).packed)
    places = [place for place in range(bits // 8, 16) if place != 8][:4]
    for place, byte in zip(places, ipaddress.IPv4Address(inside).packed, strict=True):
        packed[place] = byte
    return str(ipaddress.IPv6Address(bytes(packed)))


def forms_of(address):
    """Every IPv6 address that leads to an IPv4 one."""
    packed = ipaddress.IPv4Address(address).packed
    high, low = packed[:2].hex(), packed[2:].hex()
    turned = bytes(byte ^ 0xFF for byte in packed)
    yield f"::ffff:{address}"
    yield f"2002:{high}:{low}::1"
    yield f"2001:0:{high}:{low}::1"
    yield f"2001:0:808:808:0:0:{turned[:2].hex()}:{turned[2:].hex()}"
    for interface in ("0:5efe", "200:5efe", "100:5efe", "300:5efe"):
        yield f"2606:4700:0:0:{interface}:{high}:{low}"
    yield nat64("64:ff9b::", 96, address)
    for bits in (48, 56, 64, 96):
        yield nat64("64:ff9b:1::", bits, address)
    for bits in (32, 40, 48, 56, 64, 96):
        yield nat64("2a01:4f8::", bits, address)
        yield nat64("fd12:3456::", bits, address)


@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_metadata_is_refused_in_every_form(address):
    forms = [address, *(forms_of(address) if "." in address else ())]
    for form in forms:
        assert why_refused(form, allow_private=False) is not None, form
        assert why_refused(form, allow_private=True) is not None, form
    assert why_refused(address, allow_private=True) == "cloud metadata"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "169.254.1.1"])
def test_a_private_address_is_refused_in_every_form(address):
    for form in forms_of(address):
        assert why_refused(form, allow_private=False) is not None, form


def test_nat64_of_the_wellknown_prefix_reads_back():
    assert nat64("64:ff9b::", 96, "192.0.2.33") == "64:ff9b::c000:221"
    assert nat64("2001:db8::", 32, "192.0.2.33") == "2001:db8:c000:221::"  # the table of RFC 6052, 2.4
    assert nat64("2001:db8:100::", 40, "192.0.2.33") == "2001:db8:1c0:2:21::"
    assert nat64("2001:db8:122::", 48, "192.0.2.33") == "2001:db8:122:c000:2:2100::"
    assert nat64("2001:db8:122:300::", 56, "192.0.2.33") == "2001:db8:122:3c0:0:221::"
    assert nat64("2001:db8:122:344::", 64, "192.0.2.33") == "2001:db8:122:344:c0:2:2100:0"
