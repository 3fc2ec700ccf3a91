"""Objects in buckets, at a real server of S3."""

import asyncio
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from dispatcher import buckets
from dispatcher.buckets import (
    Bucket,
    BucketAwayError,
    BucketError,
    BucketRefusedError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectUrl,
    has_credentials,
)
from dispatcher.urls import masked
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, pointed_at, seaweed_server
from tests.support.stored import FILM

pytest_plugins = ["tests.support.film_fixtures"]
pytestmark = pytest.mark.anyio

KEY: Final = "a folder/Film ü 100%, ~[1]#2?.mov"


@pytest.fixture
def bucket(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    pointed_at(seaweed, monkeypatch)
    return Bucket(ObjectUrl("s3", seaweed.bucket(), "in here"), patience_s=0.5)


async def all_of(bucket: Bucket, key: str) -> bytes:
    found = await bucket.look(key)
    return b"".join([it async for it in bucket.read(key, 0, found.size, found.etag)])


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://films/a/b.mov", ObjectUrl("s3", "films", "a/b.mov")),
        ("GS://films/a b%20.mov", ObjectUrl("gs", "films", "a b%20.mov")),
        ("az://films", ObjectUrl("az", "films")),
        ("s3://films/", ObjectUrl("s3", "films")),
        ("s3:/films/a", None),
        ("https://films/a", None),
    ],
)
def test_a_url_is_a_bucket_and_a_key_as_it_is(text: str, url: ObjectUrl | None) -> None:
    assert ObjectUrl.parse(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("s3://", "s3:///a", "s3://KEY:SECRET@films/a", "s3://films:9000/a", "s3://a..b/c"),
        *("s3://films?x/a", "s3://films/a//b", "s3://films/../b", "s3://films/a/.", "s3://f/a\nb"),
        *("s3://films/a/", "s3://fi lms/a", f"s3://{'a' * 300}/b"),
    ],
)
def test_another_url_is_refused_and_tells_no_password(text: str) -> None:
    with pytest.raises(BucketError) as refused:
        ObjectUrl.parse(text)
    assert "SECRET" not in str(refused.value)


def test_what_is_below_a_prefix_begins_with_its_folders() -> None:
    root = ObjectUrl("s3", "films", "in")
    assert root.below("a.mov").is_below(root)
    assert root.is_below(ObjectUrl("s3", "films"))
    assert not ObjectUrl("s3", "films", "inside/a.mov").is_below(root)
    assert not ObjectUrl("gs", "films", "in/a.mov").is_below(root)
    assert not root.is_below(root)


async def test_what_was_put_is_read_whatever_its_key(bucket: Bucket, film: Path) -> None:
    await bucket.put(KEY, film, {"Content-Type": "video/mp4", "sha256": "abc"})
    found = await bucket.look(KEY)
    assert (found.size, found.metadata["sha256"]) == (len(FILM), "abc")
    assert await all_of(bucket, KEY) == FILM
    part = [it async for it in bucket.read(KEY, 1_000, 2_000, found.etag)]
    assert b"".join(part) == FILM[1_000:2_000]
    assert [it.key async for it in bucket.all()] == [KEY]
    await bucket.delete(KEY)
    await bucket.delete(KEY)
    with pytest.raises(ObjectMissingError, match="there is no such object"):
        await bucket.look(KEY)


async def test_a_film_of_many_parts_is_put_and_read(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(buckets, "READ_BYTES", 3 << 20)
    film = tmp_path / "film"
    film.write_bytes(FILM * 8)
    await bucket.put("film", film, {})
    assert hashlib.sha256(await all_of(bucket, "film")).digest() == (
        hashlib.sha256(FILM * 8).digest()
    )


async def test_only_one_creates_an_object(bucket: Bucket) -> None:
    done = await asyncio.gather(*(bucket.create("claim", b"%d" % it) for it in range(8)))
    assert sum(done) == 1
    assert await all_of(bucket, "claim") == b"%d" % done.index(True)


async def test_an_object_that_was_replaced_is_read_no_further(bucket: Bucket, film: Path) -> None:
    await bucket.put("film", film, {})
    found = await bucket.look("film")
    film.write_bytes(FILM[::-1])
    await bucket.put("film", film, {})
    with pytest.raises(ObjectChangedError, match="another object"):
        await anext(bucket.read("film", 0, found.size, found.etag))


async def test_a_server_that_is_away_is_waited_for(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seaweed_server(tmp_path) as seaweed:
        pointed_at(seaweed, monkeypatch)
        url = ObjectUrl("s3", seaweed.bucket())
        await Bucket(url).put("film", film, {})
        seaweed.kill()
        with pytest.raises(BucketAwayError, match="film: "):
            await Bucket(url, patience_s=0.2).look("film")
        reading = asyncio.create_task(all_of(Bucket(url), "film"))
        await asyncio.to_thread(seaweed.start)
        assert await reading == FILM


@pytest.mark.parametrize(
    "given", [{"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, {"AWS_ACCESS_KEY_ID": "unknown-key"}]
)
async def test_a_wrong_key_is_told_and_no_key(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, film: Path, given: dict[str, str]
) -> None:
    pointed_at(seaweed, monkeypatch, **given)
    bucket = Bucket(ObjectUrl("s3", seaweed.bucket()))
    for work in (bucket.look("film"), bucket.put("film", film, {}), bucket.create("a", b"")):
        with pytest.raises(BucketRefusedError) as refused:
            await work
        for secret in (ACCESS_KEY, SECRET_KEY, *given.values()):
            assert secret not in str(refused.value)


async def test_a_container_of_azure_is_opened_by_its_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = base64.b64encode(b"secret of azure").decode()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "farm")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", secret)
    assert has_credentials("az")
    link = urlsplit(await Bucket(ObjectUrl("az", "films", "in")).link("a b.mov", 60))
    assert (link.scheme, link.hostname) == ("https", "farm.blob.core.windows.net")
    assert link.path == "/films/in/a%20b.mov"
    assert "sig=***" in masked(link.geturl())
    assert secret not in link.query


async def test_a_bucket_of_google_is_opened_by_its_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "farm@films.example",
        "private_key_id": "1",
        "private_key": key.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    assert has_credentials("gs")
    link = urlsplit(await Bucket(ObjectUrl("gs", "films", "in")).link("a b.mov", 60))
    assert (link.scheme, link.hostname) == ("https", "storage.googleapis.com")
    assert link.path == "/films/in/a%20b.mov"
    assert "X-Goog-Signature=***" in masked(link.geturl())
    assert "X-Goog-Credential=***" in masked(link.geturl())


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(BucketError, match=r"pip install 'transcoding-dispatcher\[cloud\]'"):
        Bucket(ObjectUrl("s3", "films"))
