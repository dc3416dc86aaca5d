-- Inventory: a shelf for each run, and every line of its ledger.
CREATE TABLE IF NOT EXISTS shelves (
    run       bigint PRIMARY KEY,
    line      bigint NOT NULL,
    remaining bigint NOT NULL,
    -- By the last line.
    taken     bigint NOT NULL
);

-- Nothing here forbids a second reservation: the books would show it.
CREATE TABLE IF NOT EXISTS movements (
    run         bigint NOT NULL,
    line        bigint NOT NULL,
    number      bigint NOT NULL,
    -- None where there were not enough, less than none for a release.
    taken       bigint NOT NULL,
    remaining   bigint NOT NULL,
    is_decision bigint NOT NULL,
    PRIMARY KEY (run, line)
);
