-- The tables of the chat. Each worker applies this file when it starts; the lock lets them do so one after the other.
SELECT pg_advisory_xact_lock(20090);

CREATE TABLE IF NOT EXISTS room (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    owner text NOT NULL
);

-- Of two events about one membership, the one with the higher version is the later one.
CREATE SEQUENCE IF NOT EXISTS membership_version;

CREATE TABLE IF NOT EXISTS member (
    room bigint REFERENCES room,
    person text,
    version bigint NOT NULL DEFAULT nextval('membership_version'),
    PRIMARY KEY (person, room)
);

-- The key is the page's: a message that is sent again with its key is stored once.
CREATE TABLE IF NOT EXISTS message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room bigint NOT NULL REFERENCES room,
    author text NOT NULL,
    key text NOT NULL,
    text text NOT NULL,
    is_note boolean NOT NULL,
    UNIQUE (author, key)
);

CREATE INDEX IF NOT EXISTS message_of_room ON message (room, id);
