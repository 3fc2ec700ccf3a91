"""NATS with TLS and nkeys, set up as docs/cluster.md says."""

import os
from collections.abc import Iterator
from pathlib import Path

import nkeys
import pytest

from dispatcher.cluster import ClusterError
from dispatcher.cluster import stream as stream_module
from dispatcher.cluster.address import Address
from dispatcher.cluster.stream import Stream
from tests.support.commands import command
from tests.support.dispatchers import following, leading, members
from tests.support.in_flight import TESTER, seqs, submit
from tests.support.nats import Nats, nats_cluster
from tests.support.tls import make_certificate

pytestmark = pytest.mark.anyio

SECURED = """
tls {{
  handshake_first: true
  cert_file: "{certificate}"
  key_file: "{certificate}"
  ca_file: "{certificate}"
  verify: true
}}
authorization {{
  users: [ {{
    nkey: {public}
    permissions {{
      publish: [
        "farm.>", "_INBOX.>", "$JS.API.STREAM.INFO.farm", "$JS.API.STREAM.CREATE.farm",
        "$JS.API.STREAM.MSG.GET.farm", "$JS.API.DIRECT.GET.farm"
      ]
      subscribe: ["farm.>", "_INBOX.>"]
    }}
  }} ]
}}
"""


def new_seed(path: Path) -> str:
    """Write the seed of a user, and give its public nkey."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    path.write_bytes(seed + b"\n")
    return str(nkeys.from_seed(bytearray(seed)).public_key.decode())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate, the seed of the dispatchers, and those of a stranger."""
    folder = tmp_path_factory.mktemp("files")
    make_certificate(folder).rename(folder / "stranger.pem")
    make_certificate(folder)
    new_seed(folder / "stranger.nk")
    return folder


@pytest.fixture(scope="module")
def secured(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    more = SECURED.format(certificate=files / "certificate.pem", public=new_seed(files / "farm.nk"))
    with nats_cluster(tmp_path_factory.mktemp("nats"), more) as nats:
        yield nats


def address(nats: Nats, files: Path, scheme: str = "tls", **named: str) -> str:
    """Give the address of the log by the name that is in the certificate."""
    pem = str(files / "certificate.pem")
    query = {"ca": pem, "cert": pem, "nkey": str(files / "farm.nk")} | named
    hosts = nats.hosts.replace("127.0.0.1", "localhost")
    return f"{scheme}://{hosts}/farm?" + "&".join(f"{k}={v}" for k, v in query.items() if v)


async def test_dispatchers_work_with_certificates_and_an_nkey_that_may_do_no_more_than_they_need(
    secured: Nats, files: Path, tmp_path: Path
) -> None:
    farm = address(secured, files)
    async with members(Address.parse(farm), tmp_path, 2) as pair:
        await leading(pair).execute(submit("a"), TESTER, seqs)
        (follower,) = following(pair)
        assert await follower.execute(submit("b"), TESTER, seqs) == [2]
        told = await command(tmp_path, "cluster", "status", "--log", farm, key=None)
        assert told.status == 0, told.err
        assert str(files) not in told.out
    verified = await command(
        tmp_path, "log", "verify", "--log", farm, "--db", str(tmp_path / "a.db"), key=None
    )
    assert verified.status == 0, verified.err


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        pytest.param({"nkey": "stranger.nk"}, "Authorization Violation", id="another nkey"),
        pytest.param({"nkey": ""}, "Authorization Violation", id="no nkey"),
        pytest.param({"ca": "stranger.pem"}, "certificate verify failed", id="another authority"),
        pytest.param({"cert": ""}, "no node answers", id="no certificate of its own"),
    ],
)
async def test_whoever_has_not_what_it_takes_is_turned_away_and_told_why(
    secured: Nats, files: Path, named: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CONNECT_S", 5)
    wrong = {name: str(files / file) if file else "" for name, file in named.items()}
    with pytest.raises(ClusterError, match=reason):
        await Stream.connect(Address.parse(address(secured, files, **wrong)), "test")


async def test_nothing_is_sent_in_the_clear_to_a_node_that_asks_for_no_tls(
    nats: Nats, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CONNECT_S", 3)
    with pytest.raises(ClusterError, match="no node answers"):
        await Stream.connect(Address.parse(address(nats, files)), "test")


@pytest.mark.parametrize(
    ("named", "told"),
    [
        pytest.param({"nkey": "none.nk"}, "none.nk: has no seed of an nkey: .* No such", id="none"),
        pytest.param({"nkey": "certificate.pem"}, "has no seed of an nkey", id="no seed"),
        pytest.param({"ca": "none.pem"}, "none.pem, .*can't be used for TLS: .* No such", id="ca"),
        pytest.param({"cert": "farm.nk"}, "farm.nk: can't be used for TLS", id="no certificate"),
    ],
)
async def test_a_file_that_is_no_good_is_named(
    secured: Nats, files: Path, named: dict[str, str], told: str
) -> None:
    wrong = {name: str(files / file) for name, file in named.items()}
    with pytest.raises(ClusterError, match=told):
        await Stream.connect(Address.parse(address(secured, files, **wrong)), "test")
