"""Which hosts a URL from outside may reach: those of the public Internet, and what a rule allows.

Workers stand where databases, metadata services and admin pages answer to anybody. Whoever names a
URL must not reach those through a worker. So an address counts, never the name that led to it: all
that is not public is refused, whatever way it is written, unless FLOWQ_FETCH_HOSTS allows it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Final

from flowq.core.text.masking import masked

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: IPv6 networks whose addresses stand for the IPv4 address in their last 32 bits.
_TRANSLATED: Final = (ip_network("64:ff9b::/96"), ip_network("::/96"))
#: Public as far as Python knows, and the inside of a cloud: of Oracle's, and of Azure's.
_INSIDE: Final = (ip_network("192.0.0.0/24"), ip_network("168.63.129.16/32"))
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class HostRule:
    """A host or a network that may be reached although it is not public.

    Attributes:
        name: Of a host; whatever address it has.
        network: Addresses; whatever name led to them.
        port: This port alone; None for any.
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
        ValueError: one of them is none.
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
        return False  # they lead to an IPv4 address by ways that nobody needs any more
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not getattr(address, "is_site_local", False)
        and not any(address in network for network in _INSIDE)
    )


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
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
