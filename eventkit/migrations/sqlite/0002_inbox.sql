-- The transactional inbox. Each statement may run again at any time.
-- Other names than these: replace `eventkit_inbox` everywhere.
-- Times are milliseconds since 1970.

-- What was handled: written in the transaction that holds the effect.
CREATE TABLE IF NOT EXISTS "eventkit_inbox" (
    "event_id"       TEXT    NOT NULL,
    "source"         TEXT    NOT NULL,
    "handler"        TEXT    NOT NULL,
    "consumer_group" TEXT    NOT NULL,
    "handled_at"     INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY ("event_id", "handler", "consumer_group", "source")
);

CREATE INDEX IF NOT EXISTS "eventkit_inbox_by_time" ON "eventkit_inbox" ("handled_at");
