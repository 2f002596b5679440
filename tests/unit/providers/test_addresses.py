"""Which addresses an outside call may reach (QUEUE-13)."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.providers.addresses import permitted

pytestmark = pytest.mark.req("QUEUE-13")

REFUSED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.255.255.254 169.254.0.1
169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1
198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254
64:ff9b:1::8.8.8.8 100::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1 2002:7f00:1::1 2002:a9fe:a9fe::
2002:0a00:0001::1 3fff::1 4000::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1
ff0e::1 2606:4700::1111%eth0
""".split()  # noqa: SIM905 - a table, not a list of words
ALLOWED = """
1.1.1.1 8.8.8.8 93.184.215.14 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.167.255.255 223.255.255.255
2606:4700:4700::1111 2a00:1450:4001:80b::200e 64:ff9b::8.8.8.8 ::ffff:8.8.8.8 2002:0808:0808::1
""".split()  # noqa: SIM905 - a table, not a list of words
OPENED = """
10.1.2.3 100.64.0.1 127.0.0.1 172.16.5.4 192.168.0.9 ::1 fd12::1 ::ffff:192.168.0.9 64:ff9b::10.0.0.1
""".split()  # noqa: SIM905 - a table, not a list of words
STILL_REFUSED = """
0.0.0.0 169.254.1.1 169.254.169.254 192.0.2.1 198.18.0.1 224.0.0.1 255.255.255.255 168.63.129.16 100.100.100.200
:: fe80::1 fd12::1%eth0 fd00:ec2::254 ff02::1 2001:db8::1 ::ffff:169.254.169.254 2002:a9fe:a9fe::
""".split()  # noqa: SIM905 - a table, not a list of words


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not permitted(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_public_is_allowed(text: str) -> None:
    assert permitted(ipaddress.ip_address(text))


def test_allow_private_opens_the_operators_own_networks_and_nothing_more() -> None:
    for text in OPENED:
        assert permitted(ipaddress.ip_address(text), allow_private=True), text
    for text in STILL_REFUSED:
        assert not permitted(ipaddress.ip_address(text), allow_private=True), text


@given(st.ip_addresses())
def test_nothing_is_allowed_that_the_standard_library_calls_private_or_multicast(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if permitted(address):
        kinds = (address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified)
        assert not any(kinds)
        if isinstance(address, ipaddress.IPv4Address):
            assert address.is_global


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_the_clothes_of_ipv6_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for prefix, shift in ((0xFFFF << 32, 0), (0x64FF9B << 96, 0), (0x2002 << 112, 80)):
        dressed = ipaddress.IPv6Address(prefix | number << shift)
        assert permitted(dressed) == permitted(address)
        assert permitted(dressed, allow_private=True) == permitted(address, allow_private=True)
