-- Makes the database `tasks` and its two roles: `tasks_owner`, which migrations run as, and `tasks`, which the services run as
-- and which may do what migrations grant it. Postgres runs this on an empty volume. On one from before the roles were apart
-- it is run by hand, as often as you like: docs/operations.md, Roles of Postgres.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/postgres-tasks`
\set owner_password `cat /run/secrets/postgres-owner`

SELECT 'CREATE ROLE tasks' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tasks') \gexec
SELECT 'CREATE ROLE tasks_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tasks_owner') \gexec
ALTER ROLE tasks LOGIN PASSWORD :'password';
ALTER ROLE tasks_owner LOGIN PASSWORD :'owner_password';
SELECT 'CREATE DATABASE tasks OWNER tasks_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'tasks') \gexec

\connect tasks
BEGIN;
SELECT pg_get_userbyid(datdba) = 'tasks' AS is_old FROM pg_database WHERE datname = 'tasks' \gset
\if :is_old
REASSIGN OWNED BY tasks TO tasks_owner;
-- Until `migrate` grants less.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tasks;
\endif
COMMIT;
