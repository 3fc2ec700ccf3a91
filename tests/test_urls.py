"""What is told of a URL: no password, no signature, and all else as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.urls import masked, web_url_fault


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://anna:secret@media/in.mp4", "http://media/in.mp4"),
        ("http://anna@media/in.mp4", "http://media/in.mp4"),
        ("HTTPS://anna:se%40cret@media:8443/", "HTTPS://media:8443/"),
        ("http://anna:s3@cr@et@[::1]:80/x", "http://[::1]:80/x"),
        ("http://anna:sec/ret@media/x", "http://media/x"),
        ("http://anna:sec?ret#@media/x", "http://media/x"),
        ("s3://KEY:SECRET@bucket/x", "s3://bucket/x"),
        ("ftp://anna:secret@media/x", "ftp://media/x"),
        ("//anna:secret@media/x", "//media/x"),
        ("http:/anna:secret@media/x", "http:/media/x"),
        ("http:anna:secret@media/x", "http:media/x"),
        ("http:\\\\anna:secret@media/x", "http:\\\\media/x"),
        ("http://anna%3Asecret%40media/x", "http://anna%3Asecret%40media/x"),  # a host, oddly
    ],
)
def test_a_name_and_a_password_are_left_out(url: str, told: str) -> None:
    assert masked(url) == told


@pytest.mark.parametrize(
    "name",
    [
        *("X-Amz-Signature", "x-amz-credential", "X-Amz-Security-Token", "AWSAccessKeyId"),
        *("X-Goog-Signature", "X-Goog-Credential", "GoogleAccessId", "Signature", "sig", "SIG"),
        *("token", "access_token", "accessToken", "id_token", "jwt", "key", "api_key", "apikey"),
        *("api-key", "X-API-Key", "Key-Pair-Id", "Policy", "password", "passwd", "pass", "pwd"),
        *("secret", "client_secret", "auth", "auth_token", "sessionid", "hdnts", "hdnea"),
        *("x-oss-signature", "OSSAccessKeyId", "to%6ben", "%73ig"),
    ],
)
@pytest.mark.parametrize("place", ["?{}", "?a=1&{}&b=2", "?a=1;{}", "#{}", "?a=1#{}"])
def test_the_value_of_a_secret_parameter_is_masked(name: str, place: str) -> None:
    url = f"https://media/in.mp4{place}"
    assert masked(url.format(f"{name}=c0ffee%2F")) == url.format(f"{name}=***")


@pytest.mark.parametrize(
    "url",
    [
        "http://media:8080/a@2x.png?v=1&X-Amz-Expires=60&author=anna&frames=2&design=b#top",
        "http://[::1]:8080/a@b:c",
        "file:///videos/a@b.mp4",
        "[https @ 0x55d0] HTTP error 404",
        "mailto:anna@example.com",
        "key=1 token=2, as a text has it",
        "",
    ],
)
def test_all_else_is_left_as_it_is(url: str) -> None:
    assert masked(url) == url


def test_urls_are_found_in_a_text() -> None:
    text = (
        "[https @ 0x5] opening 'https://u:p@cdn/a.ts?sig=c0ffee' for reading\n"
        "https://u:p@cdn/a.ts?token=c0ffee: Server returned 403 Forbidden (see http://u:p@h/?key=1)."
    )
    assert masked(text) == (
        "[https @ 0x5] opening 'https://cdn/a.ts?sig=***' for reading\n"
        "https://cdn/a.ts?token=***: Server returned 403 Forbidden (see http://h/?key=***)."
    )


def test_the_secrets_of_a_known_url_are_found_without_it() -> None:
    url = "https://anna:hunter%322@media/in.mp4?sig=c0ffee"
    said = "denied to anna:hunter%322 (hunter22), signed c0ffee"
    assert masked(said, [url]) == "denied to *** (***), signed ***"


@given(st.text(alphabet="ahtp:/@?&#=%40. 's\n\\[]", max_size=60) | st.text(max_size=60))
def test_a_text_is_masked_once_and_for_all(text: str) -> None:
    assert masked(masked(text)) == masked(text)


@given(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9!$&'()*+,;=:%/?#@._~-]{1,20}", fullmatch=True),
)
def test_no_password_is_told_however_it_is_written(name: str, password: str) -> None:
    url = f"http://{name}:{password}Xq9Z@media.example/in.mp4"
    if not password[0].isdigit():  # else it begins like a port
        assert "Xq9Z" not in masked(url)


@pytest.mark.parametrize(
    "text",
    [
        *("//a:b" * 200_000, "@" + "//a:b" * 200_000, "//" * 500_000 + "@", "@" * 1_000_000),
        *("http:" * 200_000 + "@", "&token=" * 100_000, "?token=" + "." * 1_000_000 + "x"),
        *("a" * 1_000_000 + "://", "//%40" * 200_000),
    ],
    ids=range(9),
)
def test_a_large_text_takes_no_longer_than_its_size_requires(text: str) -> None:
    masked(text)  # in quadratic time, this would run into the timeout


@pytest.mark.parametrize(
    "url", ["http://anna:hunter2/x@media/", "http://anna:hunter2", "http://[anna:hunter2@media/"]
)
def test_what_is_wrong_with_a_url_is_told_without_a_part_of_it(url: str) -> None:
    fault = web_url_fault(url)
    assert fault is not None
    assert "hunter2" not in fault
