"""What an auditor checks, checked in the browser: `merkle.js` and `checkpoint.js`."""

from base64 import b64encode
from typing import Any, Final

import pytest
from playwright.async_api import Page

from dispatcher.log import merkle
from dispatcher.log.checkpoints import Checkpoint, Signer
from dispatcher.log.merkle import Frontier, Subtree, leaf_hash, span_root

pytestmark = pytest.mark.anyio

SIGNER: Final = Signer.parse(
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
)
OTHER_KEY: Final = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SIZES: Final = 34

CHECK: Final = """async ({key, cases}) => {
  const {parseKey, verifiedCheckpoint} = await import("/board/checkpoint.js");
  const {checkConsistency, hashIn} = await import("/board/merkle.js");
  const parsed = await parseKey(key);
  const found = [];
  for (const {old, later, proof} of cases) {
    try {
      const before = await verifiedCheckpoint(old, parsed);
      const now = await verifiedCheckpoint(later, parsed);
      await checkConsistency({
        from: before.size, to: now.size,
        oldRoot: hashIn(before.root, "old"), newRoot: hashIn(now.root, "new"),
      }, proof);
      found.push("proved");
    } catch (error) { found.push(`${error.name}: ${error.message}`); }
  }
  return found;
}"""
READ: Final = """async ({key, note}) => {
  const {parseKey, pastedNote, verifiedCheckpoint} = await import("/board/checkpoint.js");
  try { return (await verifiedCheckpoint(pastedNote(note), await parseKey(key))).size; }
  catch (error) { return `${error.name}: ${error.message}`; }
}"""


class Log:
    """A log's tree, with what its dispatcher would hand out."""

    def __init__(self, lines: list[bytes]) -> None:
        self.kept: dict[Subtree, bytes] = {}
        frontier = Frontier()
        self.roots = [frontier.root()]
        for line in lines:
            self.kept.update(frontier.append(leaf_hash(line)))
            self.roots.append(frontier.root())

    def note(self, size: int) -> str:
        return SIGNER.sign(Checkpoint(SIGNER.origin, size, self.roots[size]))

    def proof(self, old: int, new: int) -> dict[str, Any]:
        roots = [span_root([self.kept[it] for it in span]) for span in merkle.consistency(old, new)]
        return {"from": old, "to": new, "path": [b64encode(root).decode() for root in roots]}

    def case(self, old: int, new: int, **changed: Any) -> dict[str, Any]:
        proof = self.proof(old, new) | changed
        return {"old": self.note(old), "later": self.note(new), "proof": proof}


LOG: Final = Log([b'{"seq":%d}' % seq for seq in range(1, SIZES + 1)])
FORK: Final = Log([b'{"seq":%d}' % (seq if seq < 20 else -seq) for seq in range(1, SIZES + 1)])


async def checked(page: Page, *cases: dict[str, Any]) -> list[str]:
    await page.goto("/")
    found: list[str] = await page.evaluate(
        CHECK, {"key": SIGNER.verifier_key, "cases": list(cases)}
    )
    return found


async def test_every_log_is_proved_to_begin_with_every_shorter_one(page: Page) -> None:
    cases = [LOG.case(old, new) for new in range(1, SIZES + 1) for old in range(1, new + 1)]
    assert set(await checked(page, *cases)) == {"proved"}


async def test_no_proof_leads_to_a_log_that_was_changed_before(page: Page) -> None:
    cases = [
        LOG.case(old, new) | {"later": FORK.note(new), "proof": proof}
        for old in (20, 21, 24, 32, 33)
        for new in range(old, SIZES + 1)
        for proof in (LOG.proof(old, new), FORK.proof(old, new))
    ]
    found = await checked(page, *cases)
    assert {it.partition(" lead")[0] for it in found} == {"ContradictionError: the proof does not"}


async def test_a_proof_has_its_own_sizes_and_as_many_hashes_as_it_needs(page: Page) -> None:
    path = LOG.proof(5, 20)["path"]
    found = await checked(
        page,
        LOG.case(5, 20, path=path[:-1]),
        LOG.case(5, 20, path=[*path, path[0]]),
        LOG.case(5, 20, path=[*path[:-1], path[-1][:-4] + "AAA="]),
        LOG.case(5, 20, path=[path[0]] * 131),
        LOG.case(5, 20, path=["AAAA"]),
        LOG.case(5, 20, path=[7]),
        LOG.case(5, 20, path="none"),
        LOG.case(5, 20, **{"from": 6}),
        LOG.case(5, 20) | {"proof": None},
        {"old": LOG.note(20), "later": LOG.note(5), "proof": LOG.proof(5, 20)},
        {"old": LOG.note(0), "later": LOG.note(5), "proof": {"from": 0, "to": 5, "path": []}},
    )
    assert found == [
        "NotProvedError: the proof's path is too short",
        "NotProvedError: the proof's path is too long",
        "ContradictionError: the proof does not lead from 5 events to 20",
        "NotProvedError: the proof's path is too long",
        "NotProvedError: an element of the path is no hash of 32 bytes",
        "NotProvedError: an element of the path is no base64",
        'NotProvedError: the proof has no list "path"',
        "NotProvedError: the proof is not from 5 to 20 events",
        'NotProvedError: the proof has no list "path"',
        "NotProvedError: 20 events can't be the beginning of 5",
        "NotProvedError: of a log without events nothing can be proved",
    ]


@pytest.mark.parametrize(
    ("note", "found"),
    [
        (LOG.note(7), 7),
        ("\n " + LOG.note(7).strip().replace("\n", "\r\n"), 7),
        (LOG.note(7) + "— other YWJjZGVmZw==", 7),
        (LOG.note(7).replace("\n7\n", "\n8\n"), "the checkpoint has a bad signature by "),
        (LOG.note(7).replace("\n7\n", "\n07\n"), "the checkpoint has no number of events in its"),
        (LOG.note(7).replace("— Peter", "— Paul"), "the checkpoint is not signed by "),
        (LOG.note(7).partition("\n\n")[0], "the checkpoint has not the form of a signed"),
        ("", "the checkpoint has not the form of a signed checkpoint"),
        ("<b>7</b>", "the checkpoint has not the form of a signed checkpoint"),
    ],
    ids=str,
)
async def test_a_note_is_read_if_the_logs_key_has_signed_it(
    page: Page, note: str, found: int | str
) -> None:
    await page.goto("/")
    read = await page.evaluate(READ, {"key": SIGNER.verifier_key, "note": note})
    if isinstance(found, int):
        assert read == found
    else:
        assert read.startswith(f"NotProvedError: {found}")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (OTHER_KEY, "the checkpoint is not signed by sum.golang.org"),
        (SIGNER.verifier_key.replace("c74f20a3", "c74f20a4"), "the log's key does not belong to"),
        ("PeterNeumann", "a log's key has the form name+id+base64"),
        ("PeterNeumann+c74f20a3+AAAA", "the log's key is none of Ed25519"),
    ],
)
async def test_a_key_is_the_one_that_its_id_is_made_of(page: Page, key: str, why: str) -> None:
    await page.goto("/")
    read = await page.evaluate(READ, {"key": key, "note": LOG.note(7)})
    assert read.startswith(f"NotProvedError: {why}")
