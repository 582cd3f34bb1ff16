"""targets: where a webhook may go, so that nobody makes us call what only we can reach

A name is resolved once, every address that it has must be public, and the connection goes to an address that was
checked: what the name says a moment later does not matter.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from concurrent.futures import Executor
from dataclasses import dataclass

import httpx

from pulssi.errors import PulssiError

_URL_LENGTH_MAX = 2000
_NUMERIC = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+))*\.?")
_EMBEDDED = (  # IPv6 networks whose addresses lead to an IPv4 address, and where in the address that stands
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TargetError(PulssiError):
    """A target that is not called."""


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook address, taken apart."""

    url: httpx.URL

    @property
    def host(self) -> str:
        """Name of the host in ASCII, as it is resolved and as its certificate must say."""
        return self.url.raw_host.decode("ascii")

    @property
    def port(self) -> int:
        """Port to connect to."""
        return self.url.port or {"http": 80, "https": 443}[self.url.scheme]

    def pinned(self, address: Address) -> httpx.URL:
        """The same resource at an address that was checked."""
        return self.url.copy_with(host=str(address))

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        return self.url.netloc.decode("ascii")


def parse(text: str, *, allow_private: bool) -> Target:
    """Take a target apart.

    Args:
        text: an https address; http only where private targets are allowed.
        allow_private: for tests and the demo.

    Raises:
        TargetError: it is no such address, or hides its host.
    """
    if len(text) > _URL_LENGTH_MAX:
        raise TargetError(f"longer than {_URL_LENGTH_MAX} characters")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise TargetError(f"no address: {error}") from error
    if url.scheme != "https" and not (allow_private and url.scheme == "http"):
        raise TargetError("only https is called")
    if not url.host:
        raise TargetError("no host")
    if url.port is not None and not 0 < url.port < 1 << 16:
        raise TargetError(f"there is no port {url.port}")
    if url.userinfo:
        raise TargetError("a user name or password does not belong in an address")
    if _NUMERIC.fullmatch(url.host) and not _is_plain_ipv4(url.host):
        raise TargetError(f"{url.host} is a number in disguise")
    return Target(url)


async def resolve(target: Target, executor: Executor, *, allow_private: bool) -> list[Address]:
    """The addresses of a target, all of them checked; the first is the one to try first.

    Raises:
        TargetError: it has no address, or one that is not public.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(
            executor, lambda: socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        )
    except (OSError, UnicodeError) as error:
        raise TargetError(f"cannot be resolved: {error}") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))
    forbidden = [str(address) for address in addresses if not is_public(address)]
    if forbidden and not allow_private:
        raise TargetError(f"{', '.join(forbidden)} is not public")
    if not addresses:
        raise TargetError("no address")
    return addresses


def is_public(address: Address) -> bool:
    """Whether an address, and any IPv4 address inside it, is one of the open internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.teredo is not None:
            return False
        for network, shift in _EMBEDDED:
            if address in network:
                return is_public(ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF))
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_plain_ipv4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
