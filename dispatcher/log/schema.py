"""The tables and triggers of a log, schema by schema.

Law: every word is for ever, also those in comments. A log of a schema has exactly its words, which
`layout` compares byte for byte. Other words are another schema.
"""

from typing import Final

__all__ = ["FIRST_WITH_SEGMENTS", "FIRST_WITH_TREE", "SCHEMAS", "SCHEMA_VERSION"]

SCHEMA_VERSION: Final = 3
"""1 had no request ids, no versions and no tree, 2 no segments; see `migration`."""
FIRST_WITH_TREE: Final = 2
"""The first schema whose logs have a tree."""
FIRST_WITH_SEGMENTS: Final = 3
"""The first schema whose older events may be in segments."""

_EVENTS: Final = """
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,  -- 1, 2, 3 … without gaps
    time       TEXT NOT NULL,        -- when the request came in: RFC 3339, UTC, microseconds
    type       TEXT NOT NULL,        -- what happened
    version    INTEGER NOT NULL,     -- of the fields in data
    actor      TEXT NOT NULL,        -- the name of the key that the request carried
    request_id TEXT,                 -- the request's X-Request-ID; null: the dispatcher's own doing
    data       TEXT NOT NULL,        -- its fields, as JSON
    leaf_hash  BLOB NOT NULL         -- of its line, in the tree (RFC 9162)
) STRICT;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only: an event is never changed'); END;
-- This one also stops INSERT OR REPLACE, which gets past the trigger on DELETE.
CREATE TRIGGER events_follow_one_another BEFORE INSERT ON events
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
    BEGIN SELECT RAISE(ABORT, 'events are append-only: seq must be the next one'); END;
"""

_SUBTREES: Final = """
-- Roots of the tree's perfect subtrees, so that no proof hashes the whole past.
CREATE TABLE subtrees (
    level  INTEGER NOT NULL,  -- it has 2 to the power of level leaves; 8 at least
    number INTEGER NOT NULL,  -- how many such subtrees come before it
    hash   BLOB NOT NULL,
    PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER subtrees_are_never_changed BEFORE UPDATE ON subtrees
    BEGIN SELECT RAISE(ABORT, 'the tree is append-only: a subtree is never changed'); END;
CREATE TRIGGER subtrees_are_never_replaced BEFORE INSERT ON subtrees
    WHEN EXISTS (SELECT 1 FROM subtrees WHERE level = NEW.level AND number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'the tree is append-only: a subtree is never changed'); END;
"""

_NOTHING_LEAVES: Final = """
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only: an event is never deleted'); END;
CREATE TRIGGER subtrees_are_never_deleted BEFORE DELETE ON subtrees
    BEGIN SELECT RAISE(ABORT, 'the tree is append-only: a subtree is never deleted'); END;
"""

_SEALED: Final = """
-- The segments: older events that are in files of their own (docs/log.md), and may leave `events`.
CREATE TABLE sealed (
    upto     INTEGER PRIMARY KEY,  -- the seq of its last event
    number   INTEGER NOT NULL,     -- 0, 1, 2 … without gaps; the name of its file
    level    INTEGER NOT NULL,     -- it has 2 to the power of level events
    root     BLOB NOT NULL,        -- of its subtree
    earliest TEXT NOT NULL,        -- the earliest time of its events
    sha256   BLOB NOT NULL         -- of its file
) STRICT;
CREATE TRIGGER segments_are_never_changed BEFORE UPDATE ON sealed
    BEGIN SELECT RAISE(ABORT, 'segments are append-only: a segment is never changed'); END;
CREATE TRIGGER segments_are_never_deleted BEFORE DELETE ON sealed
    BEGIN SELECT RAISE(ABORT, 'segments are append-only: a segment is never deleted'); END;
CREATE TRIGGER segments_follow_one_another BEFORE INSERT ON sealed
    WHEN NEW.number IS NOT (SELECT count(*) FROM sealed)
      OR NEW.upto IS NOT (SELECT coalesce(max(upto), 0) FROM sealed) + (1 << NEW.level)
      OR NEW.upto IS NOT min(NEW.upto, (SELECT max(seq) - 1 FROM events))  -- the newest stays
      OR NEW.root IS NOT (SELECT hash FROM subtrees
                          WHERE level = NEW.level AND (number + 1) << level = NEW.upto)
    BEGIN SELECT RAISE(ABORT, 'segments are append-only: a segment must be the next one'); END;

CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    WHEN OLD.seq > (SELECT coalesce(max(upto), 0) FROM sealed)  -- the others are in segments
    BEGIN SELECT RAISE(ABORT, 'events are append-only: an event is never deleted'); END;
CREATE TRIGGER subtrees_are_never_deleted BEFORE DELETE ON subtrees
    WHEN OLD.level >= coalesce((  -- a segment has the smaller ones that are inside it
        SELECT level FROM sealed WHERE upto >= (OLD.number + 1) << OLD.level ORDER BY upto LIMIT 1
    ), 0)
    BEGIN SELECT RAISE(ABORT, 'the tree is append-only: a subtree is never deleted'); END;
"""

SCHEMAS: Final = {
    2: _EVENTS + _SUBTREES + _NOTHING_LEAVES,
    3: _EVENTS + _SUBTREES + _SEALED,
}
"""The statements that make an empty log, by schema. Of schema 1 nothing is compared."""
