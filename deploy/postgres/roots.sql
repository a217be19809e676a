-- Makes the database `tasks` and the role that owns it, and may do nothing else. Postgres runs this once, on an empty volume.
\set password `cat /run/secrets/postgres-tasks`
CREATE ROLE tasks LOGIN PASSWORD :'password';
CREATE DATABASE tasks OWNER tasks;
