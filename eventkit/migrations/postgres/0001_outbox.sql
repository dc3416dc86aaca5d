-- The transactional outbox. Each statement may run again at any time.
-- Other names than these: replace `eventkit_outbox` everywhere.

-- Events that are committed and not yet acknowledged by the broker.
CREATE TABLE IF NOT EXISTS "eventkit_outbox" (
    -- From the key; a relay leases buckets, so one key has one relay at a time.
    "bucket"     smallint    NOT NULL,
    -- Taken while the writer holds whatever serialises its key. A sequence that
    -- hands out ids in advance (CACHE) would break the order per key.
    "id"         bigint      GENERATED ALWAYS AS IDENTITY,
    "event_id"   text        NOT NULL,
    "event_type" text        NOT NULL,
    "topic"      text        NOT NULL,
    "key"        bytea,
    -- As they stand in a Kafka record, format version 2.
    "headers"    bytea       NOT NULL,
    "payload"    bytea       NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The broker refuses it for good: its topic and key wait for an operator.
    "blocked_at" timestamptz,
    -- Why it was refused last. It stays when the row is tried again.
    "error"      text,
    PRIMARY KEY ("bucket", "id")
) WITH (
    -- Rows come and go at once: clean by number, not by share of the table.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_limit = 2000
);

CREATE INDEX IF NOT EXISTS "eventkit_outbox_blocked"
    ON "eventkit_outbox" ("bucket", "id") WHERE "blocked_at" IS NOT NULL;

-- Published events, where they are kept for a time.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_sent" (
    "id"         bigint      PRIMARY KEY,
    "event_id"   text        NOT NULL,
    "event_type" text        NOT NULL,
    "topic"      text        NOT NULL,
    "key"        bytea,
    "headers"    bytea       NOT NULL,
    "payload"    bytea       NOT NULL,
    "created_at" timestamptz NOT NULL,
    "sent_at"    timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX IF NOT EXISTS "eventkit_outbox_sent_by_time" ON "eventkit_outbox_sent" ("sent_at");

-- Refused events that an operator took out of the way. Nothing deletes them.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_aside" (
    "id"         bigint      PRIMARY KEY,
    "event_id"   text        NOT NULL,
    "event_type" text        NOT NULL,
    "topic"      text        NOT NULL,
    "key"        bytea,
    "headers"    bytea       NOT NULL,
    "payload"    bytea       NOT NULL,
    "created_at" timestamptz NOT NULL,
    "error"      text,
    "aside_at"   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which relay publishes which buckets, and until when.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_leases" (
    "bucket"     smallint    PRIMARY KEY,
    "relay"      text,
    "expires_at" timestamptz NOT NULL DEFAULT '-infinity'
);

INSERT INTO "eventkit_outbox_leases" ("bucket") SELECT generate_series(0, 63)
    ON CONFLICT DO NOTHING;

-- The relays that are alive, to share the buckets among them.
CREATE TABLE IF NOT EXISTS "eventkit_outbox_relays" (
    "relay"      text        PRIMARY KEY,
    "expires_at" timestamptz NOT NULL
);
