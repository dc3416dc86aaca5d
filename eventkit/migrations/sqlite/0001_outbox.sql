-- The transactional outbox. Each statement may run again at any time.
-- Other names than these: replace `eventkit_outbox` everywhere.
-- Times are milliseconds since 1970.

-- Events that are committed and not yet acknowledged by the broker.
CREATE TABLE IF NOT EXISTS "eventkit_outbox" (
    -- Without AUTOINCREMENT a deleted highest id would be given out again.
    "id"         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- From the key; a relay leases buckets, so one key has one relay at a time.
    "bucket"     INTEGER NOT NULL,
    "event_id"   TEXT    NOT NULL,
    "event_type" TEXT    NOT NULL,
    "topic"      TEXT    NOT NULL,
    "key"        BLOB,
    -- As they stand in a Kafka record, format version 2.
    "headers"    BLOB    NOT NULL,
    "payload"    BLOB    NOT NULL,
    "created_at" INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    -- The broker refuses it for good: its topic and key wait for an operator.
    "blocked_at" INTEGER,
    -- Why it was refused last. It stays when the row is tried again.
    "error"      TEXT
);

CREATE INDEX IF NOT EXISTS "eventkit_outbox_blocked"
    ON "eventkit_outbox" ("bucket", "id") WHERE "blocked_at" IS NOT NULL;

-- Published events, where they are kept for a time.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_sent" (
    "id"         INTEGER PRIMARY KEY,
    "event_id"   TEXT    NOT NULL,
    "event_type" TEXT    NOT NULL,
    "topic"      TEXT    NOT NULL,
    "key"        BLOB,
    "headers"    BLOB    NOT NULL,
    "payload"    BLOB    NOT NULL,
    "created_at" INTEGER NOT NULL,
    "sent_at"    INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);

CREATE INDEX IF NOT EXISTS "eventkit_outbox_sent_by_time" ON "eventkit_outbox_sent" ("sent_at");

-- Refused events that an operator took out of the way. Nothing deletes them.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_aside" (
    "id"         INTEGER PRIMARY KEY,
    "event_id"   TEXT    NOT NULL,
    "event_type" TEXT    NOT NULL,
    "topic"      TEXT    NOT NULL,
    "key"        BLOB,
    "headers"    BLOB    NOT NULL,
    "payload"    BLOB    NOT NULL,
    "created_at" INTEGER NOT NULL,
    "error"      TEXT,
    "aside_at"   INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);

-- Which relay publishes which buckets, and until when.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_leases" (
    "bucket"     INTEGER PRIMARY KEY,
    "relay"      TEXT,
    "expires_at" INTEGER NOT NULL DEFAULT 0
);

INSERT OR IGNORE INTO "eventkit_outbox_leases" ("bucket")
    WITH RECURSIVE "numbers" ("bucket") AS (
        SELECT 0 UNION ALL SELECT "bucket" + 1 FROM "numbers" WHERE "bucket" < 63
    )
    SELECT "bucket" FROM "numbers";

-- The relays that are alive, to share the buckets among them.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_relays" (
    "relay"      TEXT    PRIMARY KEY,
    "expires_at" INTEGER NOT NULL
);
