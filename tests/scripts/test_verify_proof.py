"""`scripts/verify_proof.py`: an auditor's own word on what the dispatcher proves."""

import ast
import base64
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from dispatcher.log import merkle
from dispatcher.log.checkpoints import Checkpoint, Signer
from dispatcher.log.merkle import Frontier, Span, Subtree, leaf_hash, span_root
from tests.support.commands import Done, command

PATH: Final = Path(__file__).parents[2] / "scripts" / "verify_proof.py"
PROGRAM: Final = (str(PATH),)
SIGNER: Final = Signer.parse(
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
)
KEY: Final = SIGNER.verifier_key
OTHER_KEY: Final = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def imported() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_proof", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDITOR: Final = imported()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Log:
    """A log's tree, with what its dispatcher would hand out."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self.kept: dict[Subtree, bytes] = {}
        frontier = Frontier()
        self.roots = [frontier.root()]
        for line in lines:
            self.kept.update(frontier.append(leaf_hash(line)))
            self.roots.append(frontier.root())

    def note(self, size: int) -> bytes:
        return SIGNER.sign(Checkpoint(SIGNER.origin, size, self.roots[size])).encode()

    def path(self, spans: list[Span]) -> list[bytes]:
        return [span_root([self.kept[piece] for piece in span]) for span in spans]

    def inclusion(self, seq: int, size: int) -> dict[str, Any]:
        path = [base64_of(element) for element in self.path(merkle.inclusion(seq - 1, size))]
        leaf = base64_of(leaf_hash(self.lines[seq - 1]))
        return {"seq": seq, "size": size, "leaf_hash": leaf, "path": path}

    def consistency(self, old: int, new: int) -> dict[str, Any]:
        path = [base64_of(element) for element in self.path(merkle.consistency(old, new))]
        return {"from": old, "to": new, "path": path}


def lines_of(count: int, word: str = "it") -> list[bytes]:
    return [b'{"seq":%d,"type":"%s"}' % (seq, word.encode()) for seq in range(1, count + 1)]


LOG: Final = Log(lines_of(70))
FORK: Final = Log([*lines_of(29), *lines_of(70, "another")[29:]])
PROOF: Final = LOG.inclusion(17, 40)
GROWTH: Final = LOG.consistency(17, 40)


async def run(tmp_path: Path, name: str, **arguments: Any) -> Done:
    """Run the script as an auditor would: bytes and objects stand in files."""
    words = []
    for option, value in arguments.items():
        if isinstance(value, str):
            word = value
        else:
            word = f"{option}.given"
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            (tmp_path / word).write_bytes(content)
        words += [word] if option == "note" else [f"--{option}", word]
    done = await command(tmp_path, name, *words, program=PROGRAM)
    assert "Traceback" not in done.err
    return done


def why_not(name: str, *arguments: Any) -> str:
    """Give the reason for which the script refuses these."""
    contents = [
        argument
        if isinstance(argument, bytes | None)
        else json.dumps(argument, ensure_ascii=False).encode()
        for argument in arguments
    ]
    with pytest.raises(AUDITOR.NotProvedError) as refused:
        getattr(AUDITOR, f"check_{name}")(AUDITOR.parse_key(KEY), *contents)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Independence


def test_the_script_takes_nothing_from_the_project() -> None:
    tree = ast.parse(PATH.read_text())
    packages = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert packages - set(sys.stdlib_module_names) == {"cryptography"}


def or_another(path: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    return st.sampled_from([path, path[1:], path[:-1], [*path, *path[:1]], path[::-1]])


@examples(st.data())
def test_two_implementations_agree_on_every_inclusion_proof(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    shown = data.draw(or_another(LOG.path(merkle.inclusion(index, size))))
    leaf, root = leaf_hash(LOG.lines[index]), LOG.roots[size]
    of = data.draw(st.sampled_from([size, size + 1, 2 * size]))
    at = data.draw(st.sampled_from([index, min(index + 1, of - 1), index // 2]))
    try:
        proved = AUDITOR.root_of(leaf, at, of, shown) == root
    except AUDITOR.NotProvedError:
        proved = False
    assert proved == merkle.verify_inclusion(leaf, at, of, shown, root)


@examples(st.data())
def test_two_implementations_agree_on_every_consistency_proof(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(1, new))
    shown = data.draw(or_another(LOG.path(merkle.consistency(old, new))))
    roots = LOG.roots[old], LOG.roots[new]
    after = data.draw(st.sampled_from([new, new + 1, 2 * new]))
    before = data.draw(st.sampled_from([old, min(old + 1, after), (old + 1) // 2]))
    try:
        proved = AUDITOR.roots_of(before, after, shown, roots[0]) == roots
    except AUDITOR.NotProvedError:
        proved = False
    assert proved == merkle.verify_consistency(before, after, *roots, shown)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 70])
def test_every_proof_of_a_log_is_taken(size: int) -> None:
    key, note = AUDITOR.parse_key(KEY), LOG.note(size)
    assert AUDITOR.check_checkpoint(key, note)
    for seq in range(1, size + 1):
        proof = json.dumps(LOG.inclusion(seq, size)).encode()
        assert AUDITOR.check_inclusion(key, note, proof, LOG.lines[seq - 1])
        proof = json.dumps(LOG.consistency(seq, size)).encode()
        assert AUDITOR.check_consistency(key, LOG.note(seq), note, proof)


# As a command


@pytest.mark.anyio
async def test_a_checkpoint_is_shown_to_be_signed(tmp_path: Path) -> None:
    done = await run(tmp_path, "checkpoint", key=KEY, note=LOG.note(40))
    root = base64_of(LOG.roots[40])
    assert done == (0, f"the log of 40 events with root {root} is signed by PeterNeumann\n", "")


@pytest.mark.anyio
@pytest.mark.parametrize("line_end", [b"", b"\n"])
async def test_an_event_is_shown_to_be_in_the_log(tmp_path: Path, line_end: bytes) -> None:
    event = LOG.lines[16] + line_end
    done = await run(
        tmp_path, "inclusion", key=KEY, checkpoint=LOG.note(40), proof=PROOF, event=event
    )
    assert done == (0, "event 17 is in the log of 40 events signed by PeterNeumann\n", "")


@pytest.mark.anyio
async def test_a_leaf_is_shown_to_be_in_the_log_without_its_event(tmp_path: Path) -> None:
    done = await run(
        tmp_path, "inclusion", key=f"{KEY}\n".encode(), checkpoint=LOG.note(40), proof=PROOF
    )
    said = f"event 17, whose leaf hash is {PROOF['leaf_hash']}, is in the log of 40 events"
    assert done == (0, f"{said} signed by PeterNeumann\n", "")


@pytest.mark.anyio
async def test_a_log_is_shown_to_have_only_grown(tmp_path: Path) -> None:
    done = await run(
        tmp_path, "consistency", key=KEY, old=LOG.note(17), new=LOG.note(40), proof=GROWTH
    )
    said = "the log of 40 events begins with the log of 17 events, both signed by PeterNeumann"
    assert done == (0, f"{said}\n", "")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("checkpoint", {"note": LOG.note(40).replace(b"40", b"41")}, "bad signature"),
        ("checkpoint", {"note": LOG.note(40), "key": OTHER_KEY}, "not signed by sum.golang.org"),
        ("checkpoint", {"note": LOG.note(40), "key": b"garbage"}, "key is no base64"),
        ("checkpoint", {"note": LOG.note(40), "key": KEY.replace("c7", "c8")}, "not belong"),
        ("checkpoint", {"note": b"\xff\0"}, "not the form"),
        (
            "inclusion",
            {"checkpoint": LOG.note(40), "proof": PROOF, "event": LOG.lines[17]},
            "its hash differs",
        ),
        (
            "inclusion",
            {"checkpoint": FORK.note(40), "proof": PROOF, "event": LOG.lines[16]},
            "does not lead event 17 to the checkpoint's root",
        ),
        ("inclusion", {"checkpoint": LOG.note(40), "proof": b"\xff"}, "the proof is no JSON"),
        (
            "consistency",
            {"old": LOG.note(17), "new": LOG.note(40), "proof": b"[" * 100_000},
            "the proof is no JSON",
        ),
        (
            "consistency",
            {"old": FORK.note(40), "new": LOG.note(70), "proof": LOG.consistency(40, 70)},
            "does not lead from the log of 40 events to that of 70",
        ),
    ],
)
async def test_what_is_forged_is_refused_in_one_line(
    tmp_path: Path, name: str, arguments: dict[str, Any], reason: str
) -> None:
    done = await run(tmp_path, name, **{"key": KEY, **arguments})
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("not proved: ")
    assert reason in done.err
    assert done.err.count("\n") == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: command"),
        (["checkpoint", "/dev/null"], "required: --key"),
        (["checkpoint", "--key", KEY, "missing.note"], "can't read 'missing.note'"),
        (["checkpoint", "--key", "missing.key", "-"], "can't read 'missing.key'"),
        (["checkpoint", "--key", KEY, "."], "can't read '.'"),
        (["checkpoint", "--key", KEY, "/dev/zero"], "longer than"),
        (
            ["inclusion", "--key", KEY, "--checkpoint", "-", "--proof=-"],
            "standard input can be read only once",
        ),
    ],
)
async def test_a_wrong_command_line_is_told_apart(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = await command(tmp_path, *arguments, program=PROGRAM)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert "Traceback" not in done.err


@pytest.mark.anyio
async def test_away_from_the_project_it_names_the_package_that_it_needs(tmp_path: Path) -> None:
    alone = tmp_path / "scripts" / PATH.name
    alone.parent.mkdir()
    alone.write_bytes(PATH.read_bytes())
    done = await command(tmp_path, "--help", program=("-S", str(alone)))  # -S: without packages
    assert done == (2, "", "verify_proof.py needs the Python package cryptography\n")
    assert (await command(tmp_path, "--help", program=(str(alone),))).status == 0


@pytest.mark.anyio
async def test_standard_input_can_be_any_of_the_files(tmp_path: Path) -> None:
    done = await command(tmp_path, "checkpoint", "--key", KEY, "-", program=PROGRAM)
    assert (done.status, done.out) == (1, "")  # nothing stands there
    assert done.err == "not proved: the checkpoint has not the form of a signed checkpoint\n"


# Forgeries


def test_no_field_of_a_proof_can_be_changed() -> None:
    note, event = LOG.note(40), LOG.lines[16]
    path = PROOF["path"]
    forged: dict[str, Any]
    for forged in (
        {"seq": 16},
        {"seq": 18},
        {"seq": 41},
        {"seq": 0},
        {"size": 39},
        {"size": 41},
        {"leaf_hash": LOG.inclusion(18, 40)["leaf_hash"]},
        {"path": path[1:]},
        {"path": path[:-1]},
        {"path": []},
        {"path": [*path, path[0]]},
        {"path": [path[0], *path]},
        {"path": [path[1], path[0], *path[2:]]},
        {"path": path * 20},
    ):
        assert why_not("inclusion", note, PROOF | forged, None)
        assert why_not("inclusion", note, PROOF | forged, event)
    assert why_not("inclusion", LOG.note(41), PROOF | {"size": 41}, event)


def test_no_bit_of_a_path_can_be_changed() -> None:
    for name, given, proof in (
        ("inclusion", [LOG.note(40)], PROOF),
        ("consistency", [LOG.note(17), LOG.note(40)], GROWTH),
    ):
        for place, element in enumerate(proof["path"]):
            for bit in range(256):
                changed = int.from_bytes(base64.b64decode(element)) ^ 1 << bit
                path = [*proof["path"]]
                path[place] = base64_of(changed.to_bytes(32))
                why_not(name, *given, proof | {"path": path}, *[None] * (name == "inclusion"))


def test_no_field_of_a_consistency_proof_can_be_changed() -> None:
    path = GROWTH["path"]
    forged: dict[str, Any]
    for forged in (
        {"from": 16},
        {"to": 41},
        {"from": 40, "to": 17},
        {"path": path[1:]},
        {"path": path[:-1]},
        {"path": []},
        {"path": [*path, path[0]]},
        {"path": [path[1], path[0], *path[2:]]},
    ):
        assert why_not("consistency", LOG.note(17), LOG.note(40), GROWTH | forged)


def test_an_event_must_say_its_own_seq_and_be_one_line() -> None:
    for line, reason in (
        (b'{"seq":1}', "does not say of itself that it is event 2"),
        (b'{"seq":true}', 'no whole number "seq"'),
        (b"{}", 'no whole number "seq"'),
        (b"[2]", "no JSON object"),
        (b"\xff", "no JSON"),
        (b'{"seq":\n2}', "more than one line"),
    ):
        log = Log([b"", line])
        assert reason in why_not("inclusion", log.note(2), log.inclusion(2, 2), line)


def test_two_logs_of_one_size_are_evidence() -> None:
    same = LOG.consistency(40, 40)
    said = why_not("consistency", LOG.note(40), FORK.note(40), same)
    assert said == "PeterNeumann has signed two different logs of 40 events; keep both notes"
    assert "too long" in why_not(
        "consistency", LOG.note(40), LOG.note(40), same | {"path": GROWTH["path"]}
    )


def test_checkpoints_of_no_events_of_another_log_or_the_wrong_way_round_prove_nothing() -> None:
    nothing = {"from": 0, "to": 40, "path": []}
    assert "without events" in why_not("consistency", LOG.note(0), LOG.note(40), nothing)
    back = {"from": 40, "to": 17, "path": GROWTH["path"]}
    assert "more events" in why_not("consistency", LOG.note(40), LOG.note(17), back)
    other = f"another log\n40\n{base64_of(LOG.roots[40])}\n"
    signature = bytes.fromhex("c74f20a3") + SIGNER._key.sign(other.encode())
    note = f"{other}\n— PeterNeumann {base64_of(signature)}\n".encode()
    assert "are of 'PeterNeumann' and 'another log'" in why_not(
        "consistency", LOG.note(17), note, GROWTH
    )


@pytest.mark.parametrize("field", ["seq", "size", "leaf_hash", "path"])
@pytest.mark.parametrize(
    "value", [None, True, -1, 1.0, 2**64, "", "17", [], [None], ["é"], [[]], {}, "A" * 43 + "="]
)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    assert why_not("inclusion", LOG.note(40), PROOF | {field: value}, None)


def test_a_missing_field_is_named() -> None:
    for field in PROOF:
        less = {name: value for name, value in PROOF.items() if name != field}
        assert field in why_not("inclusion", LOG.note(40), less, None)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0", b"\xff\xfe", b"null", b"[]", b'{"seq":' + b"9" * 5000 + b"}", b"[" * 100_000],
)
def test_garbage_is_refused_wherever_it_stands(garbage: bytes) -> None:
    note = LOG.note(40)
    assert why_not("checkpoint", garbage)
    assert why_not("inclusion", garbage, PROOF, None)
    assert why_not("inclusion", note, garbage, None)
    assert why_not("inclusion", note, PROOF, garbage)
    assert why_not("consistency", garbage, note, GROWTH)
    assert why_not("consistency", LOG.note(17), garbage, GROWTH)
    assert why_not("consistency", LOG.note(17), note, garbage)


def test_no_byte_of_a_note_can_be_changed() -> None:
    note = LOG.note(40)
    for place in range(len(note)):
        for value in (note[place] ^ 1, ord("\n"), 0xFF):
            if value != note[place]:
                assert why_not("checkpoint", note[:place] + bytes([value]) + note[place + 1 :])


def test_signatures_by_others_are_ignored() -> None:
    note = LOG.note(40)
    stranger = "— witness\u2028\xa0é.example AAAAAQIDBAU=\n— PeterNeumann AAAAAQIDBAU=\n".encode()
    assert AUDITOR.check_checkpoint(AUDITOR.parse_key(KEY), note + stranger)
    with pytest.raises(AUDITOR.NotProvedError, match="not signed by"):
        AUDITOR.check_checkpoint(AUDITOR.parse_key(OTHER_KEY), note + stranger)


@examples(st.text())
def test_a_key_that_is_none_is_refused(text: str) -> None:
    for key in (text, f"{text}+c74f20a3+{KEY[-44:]}", f"PeterNeumann+{text}+{KEY[-44:]}"):
        with pytest.raises(AUDITOR.NotProvedError):
            AUDITOR.parse_key(key)
