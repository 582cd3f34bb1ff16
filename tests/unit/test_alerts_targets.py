"""Nobody makes us call what only we can reach."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from alerts.targets import TargetError, is_public, parse, resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "::127.0.0.1",
        "fe80::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_addresses_that_are_not_of_the_open_internet(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "185.85.1.1", "2a00:1450:400f::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_addresses_that_are(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org/hook",
        "ftp://example.org/",
        "file:///etc/passwd",
        "example.org/hook",
        "",
        "https://",
        "https:///path",
        "https://user:secret@example.org/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://017700000001/",
        "https://[::1/",
        "https://example.org:99999/",
        "https://example.org/\n",
        "https://" + "a" * 2000 + ".org/",
    ],
)
def test_targets_that_are_refused_before_anything_is_resolved(text):
    with pytest.raises(TargetError):
        parse(text, allow_private=False)


def test_plain_http_is_for_tests_and_the_demo():
    assert parse("http://127.0.0.1:8090/x", allow_private=True).port == 8090
    assert parse("https://example.org/x", allow_private=False).port == 443


def test_numbers_in_disguise_are_refused_even_where_private_targets_are_allowed():
    with pytest.raises(TargetError, match="disguise"):
        parse("http://2130706433/", allow_private=True)


def resolved(text: str, *, allow_private: bool = False):
    with ThreadPoolExecutor(1) as executor:
        return asyncio.run(resolve(parse(text, allow_private=True), executor, allow_private=allow_private))


def answers(monkeypatch, *addresses: str) -> list[str]:
    asked = []

    def getaddrinfo(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    return asked


def test_one_private_address_among_public_ones_refuses_the_target(monkeypatch):
    answers(monkeypatch, "8.8.8.8", "127.0.0.1")
    with pytest.raises(TargetError, match=r"127\.0\.0\.1 is not public"):
        resolved("https://rebind.example/")


def test_a_name_is_resolved_once_and_the_checked_address_is_what_is_called(monkeypatch):
    asked = answers(monkeypatch, "8.8.8.8", "8.8.4.4", "8.8.8.8")
    addresses = resolved("https://hook.example:8443/a?b=c")
    assert [str(address) for address in addresses] == ["8.8.8.8", "8.8.4.4"]
    assert asked == ["hook.example"]
    target = parse("https://hook.example:8443/a?b=c", allow_private=False)
    assert str(target.pinned(addresses[0])) == "https://8.8.8.8:8443/a?b=c"
    assert target.authority == "hook.example:8443"


def test_an_ipv6_address_is_pinned_in_brackets():
    target = parse("https://hook.example/a", allow_private=False)
    assert str(target.pinned(ipaddress.ip_address("2a00:1450::1"))) == "https://[2a00:1450::1]/a"
    literal = parse("https://[2a00:1450::1]:8443/a", allow_private=False)
    assert (literal.host, literal.authority) == ("2a00:1450::1", "[2a00:1450::1]:8443")


def test_a_name_outside_ascii_is_called_in_its_ascii_form():
    target = parse("https://sää.example/", allow_private=False)
    assert target.host == "xn--s-qfaa.example" or target.host.startswith("xn--")
    assert target.authority == target.host


@pytest.mark.parametrize(
    "text", ["https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:7f00:1]/"]
)
def test_what_resolves_to_this_machine_is_refused(text):
    with pytest.raises(TargetError, match=r"is not public|cannot be resolved"):
        resolved(text)


def test_private_targets_can_be_allowed():
    assert [str(one) for one in resolved("http://127.0.0.1:1/", allow_private=True)] == ["127.0.0.1"]


def test_a_name_that_nobody_knows(monkeypatch):
    def getaddrinfo(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    with pytest.raises(TargetError, match="cannot be resolved"):
        resolved("https://nowhere.example/")
