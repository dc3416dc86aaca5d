-- Payment: every charge by its receipt. Nothing here forbids a second one.
CREATE TABLE IF NOT EXISTS charges (
    receipt text   PRIMARY KEY,
    run     bigint NOT NULL,
    number  bigint NOT NULL,
    cents   bigint NOT NULL
);

CREATE INDEX IF NOT EXISTS charges_by_order ON charges (run, number);
