"""Which hosts a URL from outside may reach: public ones, and those that a rule allows.

Workers are in networks where databases, metadata services and admin pages answer without a login. A
user's URL must not reach those through a worker. So the address is checked, not its name: every
address that is not public is refused, however it is written, unless FLOWQ_FETCH_HOSTS allows it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from flowq.core.text.masking import masked

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: IPv6 networks whose addresses contain an IPv4 address in their last 32 bits.
_TRANSLATED: Final = (ip_network("64:ff9b::/96"), ip_network("::/96"))
#: Public for Python, but internal in the clouds of Oracle and Azure.
_INSIDE: Final = (ip_network("192.0.0.0/24"), ip_network("168.63.129.16/32"))
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class HostRule:
    """A host or a network that is allowed although it is not public.

    Attributes:
        name: A host name, with any address.
        network: Addresses, with any name.
        port: Only this port; None for any.
    """

    name: str | None = None
    network: Network | None = None
    port: int | None = None

    def allows(self, host: str, address: Address, port: int) -> bool:
        """Return whether it allows this address of this host."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return address in self.network
        return self.name == host.lower().rstrip(".")


def host_rules(text: str) -> tuple[HostRule, ...]:
    """Read rules: `localhost:5555, intranet.example, 10.0.0.0/8, [fd00::1]:80`.

    Raises:
        ValueError: one of them is no rule.
    """
    return tuple(_rule(one) for one in re.split(r"[,\s]+", text) if one)


def may_reach(host: str, address: Address, port: int, rules: Sequence[HostRule]) -> bool:
    """Return whether a connection to an address of a host may be made."""
    plain = _plain(address)
    return is_public(plain) or any(rule.allows(host, plain, port) for rule in rules)


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public Internet."""
    address = _plain(address)
    if isinstance(address, IPv6Address) and (address.sixtofour or address.teredo):
        return False  # obsolete ways to reach an IPv4 address
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not getattr(address, "is_site_local", False)
        and not any(address in network for network in _INSIDE)
    )


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address contains, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if int(address) > 1 and any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return IPv6Address(int(address))  # without the zone of a link


def _rule(text: str) -> HostRule:
    host, port = _split(text)
    try:
        return HostRule(network=ip_network(host, strict=False), port=port)
    except ValueError:
        name = host.lower().rstrip(".")
        if _NAME.fullmatch(name) is None or name.replace(".", "").isdigit():
            raise ValueError(
                f"{masked(text)!r} is not a host, an address or a network: write localhost:8080, "
                "10.0.0.0/8 "
                "or [fd00::1]:80"
            ) from None
    return HostRule(name=name, port=port)


def _split(text: str) -> tuple[str, int | None]:
    """Return a host and its port, if it has one."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or rest[:1] not in ("", ":"):
            raise ValueError(f"{masked(text)!r} is not an address: write [fd00::1]:80")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 2**16):
        raise ValueError(f"{masked(text)!r}: its port is not a port number")
    return host, int(port)
