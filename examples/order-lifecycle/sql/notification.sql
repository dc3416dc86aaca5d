-- Notification: every message to a customer. Nothing here forbids a second one.
CREATE TABLE IF NOT EXISTS notices (
    run    bigint NOT NULL,
    number bigint NOT NULL,
    said   text   NOT NULL
);

CREATE INDEX IF NOT EXISTS notices_by_order ON notices (run, number);
