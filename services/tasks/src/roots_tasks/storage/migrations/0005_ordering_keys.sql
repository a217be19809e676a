-- The outbox is the table of the package roots_outbox now, whose events are in order per ordering key. The key of a task's
-- events is its id, as before. Rows that wait are kept.

ALTER TABLE outbox ALTER COLUMN task_id TYPE text;
ALTER TABLE outbox RENAME COLUMN task_id TO ordering_key;
