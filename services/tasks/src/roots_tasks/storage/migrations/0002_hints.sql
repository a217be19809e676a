-- The service gives the relay its hints now, one for many commits: a NOTIFY in each transaction made every commit wait for
-- the one before.

DROP TRIGGER hint_relay ON outbox;
DROP FUNCTION hint_relay();
