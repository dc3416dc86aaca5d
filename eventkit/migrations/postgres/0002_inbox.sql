-- The transactional inbox. Each statement may run again at any time.
-- Other names than these: replace `eventkit_inbox` everywhere.

-- What was handled: written in the transaction that holds the effect.
CREATE TABLE IF NOT EXISTS "eventkit_inbox" (
    "event_id"       text        NOT NULL,
    "source"         text        NOT NULL,
    "handler"        text        NOT NULL,
    "consumer_group" text        NOT NULL,
    "handled_at"     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What tells rows apart soonest stands first.
    PRIMARY KEY ("event_id", "handler", "consumer_group", "source")
) WITH (
    -- Old rows go in batches: clean by number, not by share of the table.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000
);

CREATE INDEX IF NOT EXISTS "eventkit_inbox_by_time" ON "eventkit_inbox" ("handled_at");
