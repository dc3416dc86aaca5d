-- The Order service: what was ordered, and how it ended.
CREATE TABLE IF NOT EXISTS orders (
    run      bigint NOT NULL,
    number   bigint NOT NULL,
    customer bigint NOT NULL,
    -- Which purchase of this customer it is.
    nth      bigint NOT NULL,
    units    bigint NOT NULL,
    cents    bigint NOT NULL,
    -- open, confirmed, cancelled for stock, cancelled for payment
    state    text   NOT NULL DEFAULT 'open',
    -- How often it was ended: more than once would be a duplicate effect.
    ends     bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (run, number)
);

-- The dead letters of its orders, as they stand in Kafka.
CREATE TABLE IF NOT EXISTS letters (
    run       bigint NOT NULL,
    topic     text   NOT NULL,
    place     bigint NOT NULL,
    position  bigint NOT NULL,
    number    bigint NOT NULL,
    consumer  text   NOT NULL,
    kind      text   NOT NULL,
    -- 0 when it was sent back.
    waiting   bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (run, topic, place, position)
);
