-- An idempotency key belongs to who sends it: two people may choose the same one, and neither gets the other's answer.
-- The subject of nobody (no token) is '', which no token can have. Rows from before are of nobody, and so are those of
-- a version before this one, which may run beside it during an upgrade.

ALTER TABLE idempotency_key ADD COLUMN subject text NOT NULL DEFAULT '';
ALTER TABLE idempotency_key DROP CONSTRAINT idempotency_key_pkey, ADD PRIMARY KEY (subject, key);
