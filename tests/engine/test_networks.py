"""Which addresses sources may be at, and under which spellings."""

import socket
from ipaddress import ip_address
from typing import Any, Final

import pytest

from dispatcher.engine.networks import (
    DEFAULT_NETWORKS,
    SourceNetworks,
    SourceNetworksError,
    kind_of,
)
from dispatcher.engine.source_errors import (
    SourceAwayError,
    SourceError,
    SourceRefusedError,
)
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine

KINDS: Final = {
    "public": (
        *("8.8.8.8", "93.184.216.34", "172.32.0.1", "100.63.255.255", "100.128.0.1"),
        *("2606:4700::1111", "2a00::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
    ),
    "private": (
        *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("100.64.0.1", "100.127.255.255", "fc00::1", "fd12:3456::1"),
        *("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "::10.0.0.1"),
    ),
    "loopback": (
        *("127.0.0.1", "127.255.255.254", "127.1.2.3", "::1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        "2001:0:808:808:0:0:80ff:fffe",  # Teredo, of the client 127.0.0.1
    ),
    "link-local": (
        *("169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%2", "fe80::a9fe:a9fe%eth0"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::169.254.169.254"),
    ),
    "metadata": (
        *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
        *("::ffff:100.100.100.200", "64:ff9b::a83f:8110"),
    ),
    "multicast": ("224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", "::ffff:224.0.0.1"),
    "reserved": (
        *("0.0.0.0", "0.1.2.3", "::", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("198.51.100.1", "203.0.113.1", "2001:db8::1", "::ffff:0.0.0.0", "64:ff9b:1::1"),
        *("100::1", "fec0::1", "4000::1"),
    ),
}
NAMED: Final = ("public", "private", "loopback", "link-local")


@pytest.mark.parametrize(("kind", "text"), [(k, text) for k in KINDS for text in KINDS[k]])
def test_every_address_has_a_kind(kind: str, text: str) -> None:
    assert kind_of(ip_address(text)) == kind


@pytest.mark.parametrize("listed", [*NAMED, "public,private", ",".join(NAMED), ""])
def test_a_list_permits_the_kinds_that_it_names_and_no_others(listed: str) -> None:
    networks = SourceNetworks.parse(listed)
    for kind, texts in KINDS.items():
        for text in texts:
            assert networks.permits(ip_address(text)) == (kind in listed.split(",")), text


def test_the_default_is_what_farms_in_private_networks_need() -> None:
    assert SourceNetworks.parse(DEFAULT_NETWORKS).names == {"public", "private"}


@pytest.mark.parametrize(
    ("listed", "permitted", "not_permitted"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ("127.0.0.0/30", "::ffff:127.0.0.2", "127.0.0.4"),
        ("public, 10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("192.0.2.0/24", "192.0.2.9", "8.8.8.8"),
        ("fd00::/8", "fd00::1", "fd00:ec2::254"),  # metadata is never meant by the way
        ("fd00:ec2::254", "fd00:ec2::254", "fd00:ec2::253"),
        ("100.64.0.0/10,100.100.100.200/32", "100.100.100.200", "10.0.0.1"),
        ("64:ff9b::/96,10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1"),
        ("224.0.0.0/4", "224.0.0.5", "10.0.0.1"),
    ],
)
def test_a_network_permits_its_addresses(listed: str, permitted: str, not_permitted: str) -> None:
    networks = SourceNetworks.parse(listed)
    assert networks.permits(ip_address(permitted))
    assert not networks.permits(ip_address(not_permitted))


@pytest.mark.parametrize("part", ["publik", "10.1.2.3/8", "10.0.0.0/33", "example.com", "fd00:/8"])
def test_a_list_that_can_not_be_read_is_an_error_that_names_the_part(part: str) -> None:
    with pytest.raises(SourceNetworksError) as told:
        SourceNetworks.parse(f"public,{part}")
    assert str(told.value).startswith(
        f"--source-networks: {part!r} is none of public, private, loopback, link-local, and no "
        "network such as 10.1.0.0/16: "
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "127.1"),
        *("::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "LOCALHOST"),
    ],
)
async def test_loopback_is_found_under_every_spelling(host: str) -> None:
    with pytest.raises(SourceRefusedError) as told:
        await SourceNetworks.parse(DEFAULT_NETWORKS).addresses_of(host, 80)
    assert str(told.value) == (
        f"{host} is a loopback address, and this engine fetches nothing from there; its operator "
        "can permit it with --source-networks"
    )
    assert await SourceNetworks.parse("loopback").addresses_of(host, 80)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["0", "0.0.0.0", "::", "2852039166", "0251.0376.0251.0376"])
async def test_other_spellings_of_forbidden_addresses_are_refused(host: str) -> None:
    with pytest.raises(SourceRefusedError):
        await SourceNetworks.parse("public,private,loopback").addresses_of(host, 80)


@pytest.mark.anyio
async def test_a_host_without_an_address_is_an_error_that_names_it() -> None:
    with pytest.raises(SourceError, match=r"nowhere\.invalid: has no address"):
        await SourceNetworks.parse("public").addresses_of("nowhere.invalid", 80)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "::ffff:127.0.0.1"])
async def test_the_dispatcher_is_permitted_at_its_port_alone(host: str) -> None:
    networks = SourceNetworks.parse("public", "http://127.0.0.1:8080/")
    if "ffff" not in host:
        assert "127.0.0.1" in await networks.addresses_of(host, 8080)
    with pytest.raises(SourceRefusedError):
        await networks.addresses_of(host, 8081)
    with pytest.raises(SourceRefusedError):
        await networks.addresses_of("127.0.0.2", 8080)


@pytest.mark.anyio
async def test_every_dispatcher_is_permitted_though_another_has_no_address() -> None:
    urls = ("http://nowhere.invalid:8080", "http://127.0.0.2:8080", "http://127.0.0.1:8081")
    networks = SourceNetworks.parse("public", *urls)
    assert await networks.addresses_of("127.0.0.2", 8080) == ["127.0.0.2"]
    assert await networks.addresses_of("127.0.0.1", 8081) == ["127.0.0.1"]
    with pytest.raises(SourceAwayError, match=r"nowhere\.invalid: has no address"):
        await networks.addresses_of("127.0.0.1", 8080)
    with pytest.raises(SourceRefusedError):
        await networks.addresses_of("127.0.0.2", 8081)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "port"),
    [("http://localhost", 80), ("https://localhost", 443), ("HTTP://LOCALHOST", 80)],
)
async def test_the_dispatchers_port_may_be_that_of_its_scheme(url: str, port: int) -> None:
    networks = SourceNetworks.parse("", url)
    assert await networks.addresses_of("localhost", port)
    with pytest.raises(SourceRefusedError):
        await networks.addresses_of("localhost", port + 1)


@pytest.mark.anyio
async def test_of_several_addresses_only_the_permitted_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        texts = ("127.0.0.1", "10.0.0.7", "169.254.169.254", "10.0.0.8", "10.0.0.7")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in texts]

    monkeypatch.setattr("socket.getaddrinfo", found)
    given = await SourceNetworks.parse("private").addresses_of("films.test", 80)
    assert given == ["10.0.0.7", "10.0.0.8"]
    with pytest.raises(
        SourceRefusedError, match="is a link-local and loopback and private address"
    ):
        await SourceNetworks.parse("public").addresses_of("films.test", 80)
