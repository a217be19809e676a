#!/bin/sh
# Makes the secrets that docker-compose.yml names, each in a file of its own; what is there already is left as it is.
#
# The folder is its owner's alone. The files in it can be read by everyone who gets so far, since a container sees them with
# their own modes, and none of the containers runs as the owner.
set -eu
folder=${1:-.compose/secrets}

# Print a secret: a letter first, as NATS needs it, and no character that a URL would quote.
secret() {
  printf 'k%s\n' "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')"
}

# Keep standard input as the secret $1, unless there is one. A file that is there is whole.
keep() {
  if [ -e "$folder/$1" ]; then
    cat >/dev/null
  else
    cat >"$folder/$1.new"
    chmod 444 "$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
  fi
}

mkdir -p "$folder"
chmod 700 "$folder"
for name in nats-provision nats-tasks nats-subscriptions nats-longpoll uid-key backend-todos backend-application \
  postgres-superuser postgres-owner postgres-tasks grafana-admin; do
  secret | keep "$name"
done
printf 'postgresql://tasks_owner:%s@postgres:5432/tasks\n' "$(cat "$folder/postgres-owner")" | keep postgres-owner-url
printf 'postgresql://tasks:%s@postgres:5432/tasks\n' "$(cat "$folder/postgres-tasks")" | keep postgres-url
