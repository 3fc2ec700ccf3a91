"""A snapshot of another fold is not used: so what folds otherwise has another version."""

from dispatcher.state.snapshots import FOLD_VERSION
from tests.state.fold import digests, recorded, unraised


def test_whatever_folds_otherwise_has_another_version() -> None:
    now = digests()
    assert not unraised(now), (
        "The fold makes something else of these logs, so snapshots that were made before must not "
        "be used: raise FOLD_VERSION in dispatcher/state/snapshots.py by one, then run "
        "`python -m tests.state.fold`, and commit tests/state/fold.json"
    )
    assert (recorded().version, recorded().digests) == (FOLD_VERSION, now), (
        "run `python -m tests.state.fold`, and commit tests/state/fold.json"
    )


def test_a_fold_that_changed_without_its_version_is_noticed() -> None:
    now = dict.fromkeys(digests(), "another")
    assert unraised(now) == [*now]
    assert unraised(now | {"a new log": "any"}) == [*recorded().digests]
