"""Addresses of replicated logs."""

from pathlib import Path

import pytest

from dispatcher.cluster import ClusterError
from dispatcher.cluster.address import Address


@pytest.mark.parametrize(
    ("text", "nodes", "shown"),
    [
        ("nats://a/farm", ["nats://a:4222"], "nats://a:4222/farm"),
        (
            "nats://a:1,b,10.0.0.1:2/farm-1",
            ["nats://a:1", "nats://b:4222", "nats://10.0.0.1:2"],
            "nats://a:1,b:4222,10.0.0.1:2/farm-1",
        ),
        ("nats://u:secret@a,b/farm", ["nats://u:secret@a:4222", "nats://b:4222"], None),
        ("tls://a/farm", ["tls://a:4222"], "tls://a:4222/farm"),
        ("nats://[::1]:5/farm", ["nats://[::1]:5"], "nats://[::1]:5/farm"),
        ("nats://[::1]/farm", ["nats://[::1]:4222"], None),
    ],
)
def test_an_address_has_nodes_and_a_name(text: str, nodes: list[str], shown: str | None) -> None:
    address = Address.parse(text)
    assert list(address.nodes) == nodes
    assert str(address) == (shown or str(address))
    assert "secret" not in str(address)


def test_an_address_names_files() -> None:
    address = Address.parse("tls://a,b/farm?ca=/etc/ca.pem&cert=c%3F.pem&key=k.pem&nkey=farm.nk")
    assert (address.name, str(address)) == ("farm", "tls://a:4222,b:4222/farm")
    assert (address.ca, address.cert) == (Path("/etc/ca.pem"), Path("c?.pem"))
    assert (address.key, address.nkey) == (Path("k.pem"), Path("farm.nk"))
    assert Address.parse("nats://a/farm?nkey=farm.nk").tls() is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "farm", "events.db", "nats://", "nats://a", "nats://a/", "nats:///farm"),
        *("http://a/farm", "nats://a/far.m", "nats://a/f m", "nats://a,/farm", "nats://a:x/farm"),
        *("nats://a/farm?ca=x", "tls://a/farm?key=x", "tls://a/farm?ca="),
        *("nats://a/farm?password=x", "nats://u:secret@a/farm?nkey=x&nkey=y", "nats://a/?nkey=x"),
        *("nats://a:99999/farm", "nats://a/farm/more", "nats://u:secret@a/fa rm"),
    ],
)
def test_what_is_no_address_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(
        ClusterError, match=r"nats://HOST\[:PORT\],|begin it with tls://|may name files"
    ) as told:
        Address.parse(text)
    assert "secret" not in str(told.value)
