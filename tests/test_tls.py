"""The server's own TLS: renewal, files that can't be used, and clients that shake no hands."""

import asyncio
import logging
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives import serialization

from dispatcher import server as serving
from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from dispatcher.http_limits import HttpLimits, Refusal
from dispatcher.tls import Certificate, CertificateError
from tests.support.commands import command, said_by, started
from tests.support.engines import eventually
from tests.support.servers import KEY, Running, running
from tests.support.tls import make_certificate

pytestmark = pytest.mark.anyio

LOCALHOST: Final = "https://localhost:"


def certificate_in(folder: Path) -> Path:
    folder.mkdir()
    return make_certificate(folder)


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    """The file that the dispatcher of the test reads; a copy of the certificate in `first`."""
    return Path(shutil.copy(certificate_in(tmp_path / "first"), tmp_path / "pem"))


@pytest.fixture
async def secure(db: Path, pem: Path) -> AsyncIterator[Running]:
    async with running(db, certificate=Certificate(pem, pem)) as dispatcher:
        yield dispatcher


async def shown_by(port: int) -> bytes:
    """Give the certificate that the dispatcher shows now, in DER."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=anybody)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        await writer.wait_closed()
    assert isinstance(shown, bytes)
    return shown


def der_of(pem: Path) -> bytes:
    _, _, certificate = pem.read_text().rpartition("-----BEGIN CERTIFICATE")
    return ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE{certificate}")


async def test_a_renewed_certificate_is_shown_after_a_reload(
    secure: Running, pem: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first/certificate.pem", certificate_in(tmp_path / "second")
    async with Client(f"{LOCALHOST}{secure.port}", KEY, ca=first) as client:
        job = await client.submit("http://media/in.mp4", "h264")
        shutil.copy(second, pem)
        assert await shown_by(secure.port) == der_of(first)
        (told,) = await client.reload()
        assert told.startswith(f"Read {pem} again; it is valid until ")
        assert await shown_by(secure.port) == der_of(second)
        assert (await client.job(job.job_id)).job_id == job.job_id  # by the old connection


async def test_a_renewed_certificate_is_shown_without_anybody_asking(
    db: Path, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LOOK_S", 0.02)
    second = certificate_in(tmp_path / "second")
    async with running(db, certificate=Certificate(pem, pem)) as dispatcher:
        pem.write_bytes(second.read_bytes()[:100])  # a file that is just being written
        pem.write_bytes(second.read_bytes())

        async def look() -> bool | None:
            return await shown_by(dispatcher.port) == der_of(second) or None

        await eventually(look)
        assert any("again, as it has changed; it is valid until" in it for it in dispatcher.said)


async def test_what_can_not_be_used_changes_nothing(
    secure: Running, pem: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first/certificate.pem"
    for spoilt in (b"", b"no certificate", first.read_bytes()[:-200]):
        pem.write_bytes(spoilt)
        async with Client(f"{LOCALHOST}{secure.port}", KEY, ca=first) as client:
            with pytest.raises(RequestRefusedError, match="the certificate in force stays, valid"):
                await client.reload()
        assert await shown_by(secure.port) == der_of(first)
    pem.unlink()
    async with Client(f"{LOCALHOST}{secure.port}", KEY, ca=first) as client:
        with pytest.raises(RequestRefusedError, match="can't be read: No such file"):
            await client.reload()


@pytest.mark.parametrize("has_password", [False, True])
def test_a_key_that_does_not_fit_or_has_a_password_is_refused(
    tmp_path: Path, has_password: bool
) -> None:
    mine, other = certificate_in(tmp_path / "mine"), certificate_in(tmp_path / "other")
    if has_password:
        key = serialization.load_pem_private_key(mine.read_bytes(), None)
        other.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    with pytest.raises(CertificateError, match="no certificate with its key") as caught:
        Certificate(mine, other)
    assert ("has a password" if has_password else "MISMATCH") in str(caught.value)


async def test_whoever_shakes_no_hands_is_closed_and_counted(
    db: Path, pem: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = HttpLimits(receive_s=1, connections=20)
    async with running(db, certificate=Certificate(pem, pem), http_limits=limits) as dispatcher:
        silent = [await asyncio.open_connection("127.0.0.1", dispatcher.port) for _ in range(30)]
        plain, to_plain = await asyncio.open_connection("127.0.0.1", dispatcher.port)
        to_plain.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, writer in [*silent, (plain, to_plain)]:
            with suppress(ConnectionError):
                assert not (await reader.read()).startswith(b"HTTP")
            writer.close()
        async with Client(f"{LOCALHOST}{dispatcher.port}", KEY, ca=pem) as client:
            assert await client.jobs() == []  # there is room again
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert Refusal.SILENT in told
    assert Refusal.CONNECTIONS in told
    assert "Traceback" not in caplog.text


async def test_plain_http_is_no_handshake(
    secure: Running, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    with suppress(ConnectionError):
        assert not (await reader.read()).startswith(b"HTTP")
    writer.close()
    assert [it for it in caplog.records if it.levelno >= logging.ERROR] == []


async def test_requests_that_come_with_the_end_of_the_handshake_are_answered(
    secure: Running, pem: Path
) -> None:
    """Many at once, as their first bytes may come before the connection has its protocol."""

    async def ask(_: int) -> bytes:
        context = ssl.create_default_context(cafile=pem)
        reader, writer = await asyncio.open_connection("localhost", secure.port, ssl=context)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with closing(writer):
            return await reader.read()

    answers = await asyncio.gather(*map(ask, range(100)))
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}


async def test_who_reads_nothing_is_ended_and_keeps_nobody_from_stopping(
    db: Path, pem: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trust = ssl.create_default_context(cafile=pem)
    limits = HttpLimits(unread_s=1)
    ask = f"GET /jobs/ HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode()

    async def never_reading(port: int) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("localhost", port, ssl=trust, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(ask * 20)
        return writer

    async with running(db, certificate=Certificate(pem, pem), http_limits=limits) as dispatcher:
        async with Client(f"{LOCALHOST}{dispatcher.port}", KEY, ca=pem) as client:
            for _ in range(40):
                await client.submit("http://media/" + "x" * 50_000, "h264")
            ended = await never_reading(dispatcher.port)

            async def look() -> bool | None:
                ended.write(b" ")  # which fails when the connection was aborted
                return ended.transport.is_closing() or None

            await eventually(look)
            assert len(await client.jobs()) == 40
        still = await never_reading(dispatcher.port)
        handshake = await asyncio.open_connection("127.0.0.1", dispatcher.port)
    for writer in (ended, still, handshake[1]):
        writer.transport.abort()
    assert Refusal.UNREAD in "\n".join(it.getMessage() for it in caplog.records)


async def test_a_client_says_how_to_trust(secure: Running, tmp_path: Path) -> None:
    other = certificate_in(tmp_path / "other")
    for ca in (None, other):
        async with Client(f"{LOCALHOST}{secure.port}", KEY, ca=ca) as client:
            with pytest.raises(DispatcherAwayError, match="with --ca or DISPATCHER_CA"):
                await client.jobs()
    with pytest.raises(RequestRefusedError, match=r"nothing: can't be used as a file of certif"):
        Client("https://localhost", KEY, ca=tmp_path / "nothing")
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(RequestRefusedError, match=r"junk: can't be used as a file of certificates"):
        Client("https://localhost", KEY, ca=tmp_path / "junk")


async def test_the_commands_serve_and_ask_over_tls(db: Path, pem: Path, tmp_path: Path) -> None:
    options = ["--db", str(db), "--port", "0", "--tls-cert", str(pem)]
    async with started(tmp_path, "serve", *options) as process:
        port = (await said_by(process, "ready on https://")).partition(",")[0].rpartition(":")[2]
        there = f"{LOCALHOST}{port}"
        listed = await command(tmp_path, "jobs", "--json", "--ca", str(pem), server=there)
        assert (listed.status, listed.json) == (0, []), listed.err
        refused = await command(tmp_path, "jobs", server=there)
        assert refused.status == 3
        assert "--ca or DISPATCHER_CA" in refused.err
        told = await command(tmp_path, "reload", "--ca", str(pem), server=there)
        assert f"Read {pem} again" in told.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--tls-key", "k"], "--tls-key needs the certificate of the key"),
        (["--tls-cert", "nothing"], "nothing: can't be read: No such file or directory"),
    ],
)
async def test_serve_does_not_start_without_what_it_needs(
    tmp_path: Path, options: list[str], told: str
) -> None:
    done = await command(tmp_path, "serve", *options)
    assert done.status in {1, 2}
    assert told in " ".join(done.err.replace("│", "").split())
    assert not (tmp_path / "events.db").exists()
