-- Each order, and what the four services have written down of it.
CREATE TEMP VIEW accounts AS
SELECT o.run, o.number, o.customer, o.nth, o.units, o.cents, o.state, o.ends,
       COALESCE(l.is_waiting, 0) AS is_dead_lettered,
       COALESCE(l.lost_turn, 0)  AS lost_turn,
       COALESCE(m.reserved, 0)   AS reserved,
       COALESCE(m.released, 0)   AS released,
       COALESCE(c.charges, 0)    AS charges,
       COALESCE(c.charged, 0)    AS charged,
       COALESCE(n.notices, 0)    AS notices
FROM "order".orders AS o
LEFT JOIN (
    -- Analytics is not on an order's way.
    SELECT run, number,
           MAX(CAST(CASE WHEN consumer = 'analytics' THEN 0 ELSE waiting END AS bigint)) AS is_waiting,
           MAX(CAST(CASE WHEN consumer = 'inventory' THEN 1 ELSE 0 END AS bigint)) AS lost_turn
    FROM "order".letters GROUP BY run, number
) AS l ON l.run = o.run AND l.number = o.number
LEFT JOIN (
    SELECT run, number,
           CAST(SUM(CASE WHEN taken > 0 THEN taken ELSE 0 END) AS bigint) AS reserved,
           CAST(SUM(CASE WHEN taken < 0 THEN -taken ELSE 0 END) AS bigint) AS released
    FROM inventory.movements GROUP BY run, number
) AS m ON m.run = o.run AND m.number = o.number
LEFT JOIN (
    SELECT run, number, COUNT(*) AS charges, CAST(SUM(cents) AS bigint) AS charged
    FROM payment.charges GROUP BY run, number
) AS c ON c.run = o.run AND c.number = o.number
LEFT JOIN (
    SELECT run, number, COUNT(*) AS notices
    FROM notification.notices GROUP BY run, number
) AS n ON n.run = o.run AND n.number = o.number;
