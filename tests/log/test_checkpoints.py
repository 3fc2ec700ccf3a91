"""Checkpoints are signed notes as others write and read them, and the key is the log's alone."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.log.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointKeyError,
    Signer,
    parse_checkpoint,
    verify_checkpoint,
)
from dispatcher.log.merkle import EMPTY_ROOT

# The key pair with which the reference implementation of signed notes is tested.
VERIFIER_KEY: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE_KEY: Final = (
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
)
PETER: Final = Signer.parse(PRIVATE_KEY)
SECRET: Final = PRIVATE_KEY.split("+", 4)[4]

# What the checksum database of Go once signed, with the key that every Go toolchain carries.
SUMDB_KEY: Final = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUMDB_NOTE: Final = (
    "go.sum database tree\n65209736\n5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=\n"
    "\n— sum.golang.org "
    "Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=\n"
)

CHECKPOINT: Final = Checkpoint("PeterNeumann", 40, bytes(range(32)))
NOTE: Final = PETER.sign(CHECKPOINT)
TEXT, SIGNATURE = NOTE.split("\n\n")
ROOT: Final = base64.b64encode(CHECKPOINT.root).decode()


def signed(text: str) -> str:
    """Sign a text that need not be a checkpoint."""
    signature = bytes.fromhex("c74f20a3") + PETER._key.sign(text.encode())
    return f"{text}\n— PeterNeumann {base64.b64encode(signature).decode()}\n"


# As others do it


def test_a_text_is_signed_as_the_reference_implementation_signs_it() -> None:
    quip = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    assert signed(quip) == (
        f"{quip}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
        "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )


def test_the_verifier_key_is_the_published_one_of_the_private_key() -> None:
    assert (PETER.origin, PETER.verifier_key) == ("PeterNeumann", VERIFIER_KEY)


def test_a_checkpoint_that_another_log_has_published_is_verified() -> None:
    checkpoint = verify_checkpoint(SUMDB_NOTE, SUMDB_KEY)
    root = base64.b64decode("5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=")
    assert checkpoint == Checkpoint("go.sum database tree", 65_209_736, root)


def test_a_note_reads_as_its_specification_says() -> None:
    assert signed(f"PeterNeumann\n40\n{ROOT}\n") == NOTE


@examples(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_what_is_verified(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("PeterNeumann", size, root)
    note = PETER.sign(checkpoint)
    assert parse_checkpoint(note) == verify_checkpoint(note, VERIFIER_KEY) == checkpoint


def test_a_key_signs_for_its_own_log_only() -> None:
    with pytest.raises(ValueError, match="nothing for another"):
        PETER.sign(Checkpoint("another", 0, EMPTY_ROOT))


# What a note may hold besides


def test_lines_after_the_third_and_signatures_by_others_are_ignored() -> None:
    stranger = "— witness.example/w AAAAAQIDBAU=\n"
    namesake = "— PeterNeumann AAAAAQIDBAU=\n"
    for note in (
        NOTE + stranger,
        NOTE + namesake,
        f"{TEXT}\n\n{stranger}{namesake}{SIGNATURE}",
        f"{TEXT}\n\n{SIGNATURE}{SIGNATURE}",
        NOTE + stranger * 100,
        signed(TEXT + "\nan extension\n"),
    ):
        assert parse_checkpoint(note) == CHECKPOINT
        assert verify_checkpoint(note, VERIFIER_KEY) == CHECKPOINT


def test_a_signature_by_nobody_known_is_none() -> None:
    other = SUMDB_NOTE.partition("\n\n")[2]
    with pytest.raises(CheckpointError, match=r"no signature by PeterNeumann\+c74f20a3"):
        verify_checkpoint(f"{TEXT}\n\n{other}", VERIFIER_KEY)


def test_one_bad_signature_by_the_key_spoils_a_good_one() -> None:
    bad = signed(f"PeterNeumann\n41\n{ROOT}\n").partition("\n\n")[2]
    for signatures in (SIGNATURE + bad, bad + SIGNATURE):
        with pytest.raises(CheckpointError, match="by PeterNeumann is not good"):
            verify_checkpoint(f"{TEXT}\n\n{signatures}", VERIFIER_KEY)


def test_a_signature_of_another_length_is_not_good() -> None:
    for length in (1, 63, 65):
        material = base64.b64encode(bytes.fromhex("c74f20a3") + bytes(length)).decode()
        with pytest.raises(CheckpointError, match="is not good"):
            verify_checkpoint(f"{TEXT}\n\n— PeterNeumann {material}\n", VERIFIER_KEY)


# Forgeries


def test_no_character_of_a_note_can_be_changed() -> None:
    for place, letter in enumerate(NOTE):
        for other in (chr(ord(letter) ^ 1), "A", "\n", "é"):
            if other != letter:
                with pytest.raises(CheckpointError):
                    verify_checkpoint(NOTE[:place] + other + NOTE[place + 1 :], VERIFIER_KEY)


def test_nothing_of_a_note_can_be_missing() -> None:
    for begin in range(len(NOTE)):
        for end in range(begin, len(NOTE) + 1):
            if (begin, end) != (0, len(NOTE)):
                with pytest.raises(CheckpointError):
                    verify_checkpoint(NOTE[begin:end], VERIFIER_KEY)


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("", "no signature line"),
        (f"{TEXT}\n", "no signature line"),
        (f"{TEXT}\n\n", "no signature line"),
        (f"{TEXT}\n{SIGNATURE}", "no signature line"),
        (NOTE.removesuffix("\n"), "does not end with a line end"),
        (f"{NOTE}Another line.\n", "malformed signature line"),
        (f"{NOTE}— Bad Name AAAAAQIDBAU=\n", "malformed signature line"),
        (f"{NOTE}— Bad+Name AAAAAQIDBAU=\n", "malformed signature line"),
        (f"{NOTE}— name AAAAAQIDBAU\n", "malformed signature line"),
        (f"{NOTE}— name AAAAAQIDBAV=\n", "malformed signature line"),
        (f"{NOTE}— name AAAAAQ==\n", "malformed signature line"),
        (f"{NOTE}- name AAAAAQIDBAU=\n", "malformed signature line"),
        (f"{NOTE}— name  AAAAAQIDBAU=\n", "malformed signature line"),
        (f"\1{NOTE}", "control characters"),
        (NOTE.replace("\n", "\r\n"), "control characters"),
        (f"\udcff{NOTE}", "no UTF-8"),
        (NOTE + "— name AAAAAQIDBAU=\n" * 100_000, "longer than"),
        (signed("PeterNeumann\n40\n"), "at least three lines"),
        (signed(f"\n40\n{ROOT}\n"), "at least three lines"),
        (signed(f"PeterNeumann\n40\n{ROOT}\n\nmore\n"), "at least three lines"),
        (signed(f"PeterNeumann\n040\n{ROOT}\n"), "no number of events: '040'"),
        (signed(f"PeterNeumann\n-1\n{ROOT}\n"), "no number of events"),
        (signed(f"PeterNeumann\n+1\n{ROOT}\n"), "no number of events"),
        (signed(f"PeterNeumann\n1_0\n{ROOT}\n"), "no number of events"),
        (signed(f"PeterNeumann\n٤\n{ROOT}\n"), "no number of events"),
        (signed(f"PeterNeumann\n{2**64}\n{ROOT}\n"), "no number of events"),
        (signed(f"PeterNeumann\n{'9' * 9999}\n{ROOT}\n"), "no number of events"),
        (signed("PeterNeumann\n40\nAAAA\n"), "not 32 bytes"),
        (signed(f"PeterNeumann\n40\n{ROOT} \n"), "not 32 bytes"),
        (signed(f"PeterNeumann\n40\n{ROOT[:-2]}9=\n"), "not 32 bytes"),
        (signed(f"PeterNeumann\n40\n{ROOT.rstrip('=')}\n"), "not 32 bytes"),
    ],
    ids=lambda value: repr(value[-60:]),
)
def test_a_malformed_checkpoint_is_refused_even_if_it_is_signed(note: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        parse_checkpoint(note)
    with pytest.raises(CheckpointError):
        verify_checkpoint(note, VERIFIER_KEY)


@examples(st.text() | st.text("\n—+ 0A="))
def test_garbage_is_refused(garbage: str) -> None:
    with pytest.raises(CheckpointError):
        verify_checkpoint(garbage, VERIFIER_KEY)
    with pytest.raises(CheckpointError):
        verify_checkpoint(NOTE, garbage)
    with pytest.raises(CheckpointKeyError):
        Signer.parse(garbage)


def pieces_of(text: str) -> list[str]:
    """Every part of a text, and the text with any one letter changed."""
    ends = range(len(text) + 1)
    parts = {text[begin:end] for begin in ends for end in ends[begin:]} - {text}
    changed = [text[:n] + chr(ord(letter) + 1) + text[n + 1 :] for n, letter in enumerate(text)]
    return [*parts, *changed]


def test_a_verifier_key_that_is_not_whole_is_refused() -> None:
    for key in (
        *pieces_of(VERIFIER_KEY),
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        VERIFIER_KEY.replace("c74f20a3", "C74F20A3"),
        PRIVATE_KEY,
    ):
        with pytest.raises(CheckpointError, match="verifier key"):
            verify_checkpoint(NOTE, key)


def test_a_private_key_that_is_not_whole_is_refused_and_not_shown() -> None:
    for key in (*pieces_of(PRIVATE_KEY), f"PRIVATE+KEY+{SECRET}+{SECRET}", VERIFIER_KEY):
        with pytest.raises(CheckpointKeyError) as refused:
            Signer.parse(key)
        assert not any(part in str(refused.value) for part in SECRET.split("+"))


# The key file


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "events.db.key"


def test_a_key_is_made_once_and_found_again(key_file: Path) -> None:
    made = Signer.load_or_create(key_file)
    content = key_file.read_text()
    found = Signer.load_or_create(key_file)
    assert (made.origin, made.verifier_key) == (found.origin, found.verifier_key)
    assert key_file.read_text() == content
    assert list(key_file.parent.iterdir()) == [key_file]


def test_a_key_file_is_one_line_in_the_common_form_for_its_owner_only(key_file: Path) -> None:
    signer = Signer.load_or_create(key_file)
    assert key_file.stat().st_mode & 0o7777 == 0o600
    (line,) = key_file.read_text().splitlines()
    _, key_id, _ = signer.verifier_key.split("+", 2)
    assert line.startswith(f"PRIVATE+KEY+{signer.origin}+{key_id}+A")
    assert Signer.parse(line).verifier_key == signer.verifier_key


def test_every_log_has_an_origin_of_its_own(tmp_path: Path) -> None:
    first, second = (Signer.load_or_create(tmp_path / name) for name in ("a.key", "b.key"))
    assert first.origin != second.origin
    for signer in (first, second):
        name, _, number = signer.origin.partition("/")
        assert (name, len(bytes.fromhex(number))) == ("transcoding-dispatcher", 4)


def test_a_key_of_another_origin_is_taken(key_file: Path) -> None:
    key_file.touch(mode=0o600)
    key_file.write_text(PRIVATE_KEY)
    note = Signer.load_or_create(key_file).sign(CHECKPOINT)
    assert verify_checkpoint(note, VERIFIER_KEY) == CHECKPOINT


def test_threads_that_start_together_have_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for n in range(20):
            key_file = tmp_path / f"{n}.key"
            signers = list(threads.map(Signer.load_or_create, [key_file] * 8))
            assert len({signer.verifier_key for signer in signers}) == 1


def test_processes_that_start_together_have_the_same_key(key_file: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from dispatcher.log.checkpoints import Signer;"
        "sys.stdin.read(); print(Signer.load_or_create(Path(sys.argv[1])).verifier_key)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(key_file)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()  # now
    keys = set()
    for process in started:
        assert process.stdout is not None
        keys.add(process.stdout.read())
        process.stdout.close()
        assert process.wait(30) == 0
    assert keys == {Signer.load_or_create(key_file).verifier_key + "\n"}
    assert list(key_file.parent.iterdir()) == [key_file]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o777])
def test_a_key_that_others_can_reach_is_refused(key_file: Path, mode: int) -> None:
    Signer.load_or_create(key_file)
    key_file.chmod(mode)
    with pytest.raises(CheckpointKeyError, match=rf"events\.db\.key is open .*{mode:04o}.*chmod"):
        Signer.load_or_create(key_file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user_is_refused(key_file: Path) -> None:
    Signer.load_or_create(key_file)
    os.chown(key_file, 54_321, 54_321)
    with pytest.raises(CheckpointKeyError, match=r"key belongs to another user \(uid 54321\)"):
        Signer.load_or_create(key_file)
    os.chown(key_file.parent, 54_321, 54_321)
    Signer.load_or_create(key_file)


@pytest.mark.parametrize("mode", [0o400, 0o700])
def test_a_key_that_its_owner_alone_can_reach_is_taken(key_file: Path, mode: int) -> None:
    made = Signer.load_or_create(key_file)
    key_file.chmod(mode)
    assert Signer.load_or_create(key_file).verifier_key == made.verifier_key


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(mode=0o700), id="directory"),
        pytest.param(lambda path: os.mkfifo(path, 0o600), id="pipe"),
        pytest.param(lambda path: path.symlink_to("/dev/null"), id="device"),
    ],
)
def test_what_is_no_regular_file_is_no_key(key_file: Path, make: Callable[[Path], None]) -> None:
    make(key_file)
    with pytest.raises(CheckpointKeyError, match=r"events\.db\.key is no regular file"):
        Signer.load_or_create(key_file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        PRIVATE_KEY.encode() + b"\n\n",
        PRIVATE_KEY.encode()[:-1],
        PRIVATE_KEY.encode() * 1000,
        VERIFIER_KEY.encode(),
        SECRET.encode(),
    ],
)
def test_a_malformed_key_file_is_named_and_left_alone(key_file: Path, content: bytes) -> None:
    key_file.touch(mode=0o600)
    key_file.write_bytes(content)
    with pytest.raises(CheckpointKeyError, match=r"events\.db\.key holds no key") as refused:
        Signer.load_or_create(key_file)
    assert not any(part in str(refused.value) for part in SECRET.split("+"))
    assert key_file.read_bytes() == content


def test_a_key_that_can_not_be_made_is_told(key_file: Path) -> None:
    with pytest.raises(CheckpointKeyError, match="No such file or directory"):
        Signer.load_or_create(key_file.parent / "missing" / "a.key")
    key_file.symlink_to("missing.key")
    with pytest.raises(CheckpointKeyError, match="remove the link"):
        Signer.load_or_create(key_file)
    assert list(key_file.parent.iterdir()) == [key_file]


def test_a_signer_does_not_show_its_key() -> None:
    seed = base64.b64decode(SECRET)[1:]
    for shown in (repr(PETER), str(PETER), repr(vars(PETER)), NOTE, PETER.verifier_key):
        for secret in (SECRET, seed.hex(), repr(seed), base64.b64encode(seed).decode()):
            assert secret not in shown
