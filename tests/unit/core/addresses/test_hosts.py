"""Public addresses may be reached; others when a rule says so, however they are written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.addresses.hosts import host_rules, is_public, may_reach

INSIDE = (
    "127.0.0.1 127.255.255.254 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 "
    "100.100.100.200 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.0.0.192 198.18.0.1 "
    "192.0.2.1 203.0.113.9 168.63.129.16 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1 "
    "ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 "
    "64:ff9b:1::1 2002:7f00:1:: 2001:0:7f00:1:: 2001:db8::1 100::1"
)
OUTSIDE = "1.1.1.1 93.184.215.14 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::101:101"


@pytest.mark.parametrize("text", INSIDE.split())
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not may_reach("host.example", ip_address(text), 80, ())


@pytest.mark.parametrize("text", OUTSIDE.split())
def test_what_is_public_is_reached(text: str) -> None:
    assert may_reach("host.example", ip_address(text), 80, ())


@given(st.ip_addresses(v=4))
def test_an_address_of_version_4_is_the_same_in_each_form(address: IPv4Address) -> None:
    mapped = IPv6Address((0xFFFF << 32) | int(address))
    translated = IPv6Address((0x64FF9B << 96) | int(address))

    assert is_public(address) == is_public(mapped) == is_public(translated)


@given(st.ip_addresses())
def test_a_network_allows_what_it_holds(address: IPv4Address | IPv6Address) -> None:
    assert may_reach("x", address, 1, host_rules("0.0.0.0/0 ::/0"))


@pytest.mark.parametrize(
    "rules, host, address, port, allowed",
    [
        ("localhost", "localhost", "127.0.0.1", 80, True),
        ("LOCALHOST.", "localhost", "::1", 80, True),
        ("localhost:5555", "localhost", "127.0.0.1", 5555, True),
        ("localhost:5555", "localhost", "127.0.0.1", 80, False),
        ("localhost", "evil.example", "127.0.0.1", 80, False),
        ("localhost", "127.0.0.1", "127.0.0.1", 80, False),
        ("127.0.0.1", "evil.example", "127.0.0.1", 80, True),
        ("10.0.0.0/8", "a", "10.9.9.9", 80, True),
        ("10.0.0.0/8", "a", "::ffff:10.9.9.9", 80, True),
        ("10.0.0.0/8", "a", "11.0.0.1", 80, True),  # it is public
        ("10.0.0.0/8", "a", "192.168.0.1", 80, False),
        ("10.0.0.0/8:8080", "a", "10.9.9.9", 8080, True),
        ("10.0.0.0/8:8080", "a", "10.9.9.9", 80, False),
        ("[fd00::1]:80", "a", "fd00::1", 80, True),
        ("[fd00::1]:80", "a", "fd00::1", 81, False),
        ("fd00::/8", "a", "fd12::1", 81, True),
        ("a.example,  b.example\n10.0.0.1", "b.example", "10.0.0.7", 80, True),
        ("", "localhost", "127.0.0.1", 80, False),
    ],
)
def test_rules(rules: str, host: str, address: str, port: int, *, allowed: bool) -> None:
    assert allowed is may_reach(host, ip_address(address), port, host_rules(rules))


@pytest.mark.parametrize(
    "text",
    ["http://x", "10.0.0.0/99", "a:b", "a:99999", "a:0", "10.0.0", "[::1", "*", "a b/c", "²"],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an? |not a port"):
        host_rules(text)


@pytest.mark.parametrize(
    "text",
    ["http://u:s3cret@x", "u:s3cret@x", "u:s3cret@x:80", "[u:s3cret@x", "http://[::1]?s3cret"],
)
def test_what_is_refused_is_shown_without_a_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an? |not a port") as caught:
        host_rules(text)

    assert "s3cret" not in str(caught.value)
