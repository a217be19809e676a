#!/bin/sh
# Starts nats-server with secrets that came as files: NAME_FILE names the file that has the value of the variable NAME, as
# for the services; of a variable whose value is a file's name, NAME_FILE is that name. nats.conf reads variables only;
# they are set here, so that no command line and no `inspect` shows them.
set -eu

for name in $(env | sed -n 's/^\(ROOTS_NATS_[A-Z_]*\)_FILE=.*/\1/p'); do
  eval "file=\$${name}_FILE"
  # shellcheck disable=SC2154  # the line above sets it
  case $name in
    ROOTS_NATS_TLS_*) value=$file ;;
    *) value=$(cat "$file") ;;
  esac
  # NATS reads a variable as its configuration: without quotes a password of digits is a number, and `#` begins a comment.
  case $name in
    *_PASSWORD | ROOTS_NATS_TLS_*) value=\"$(printf '%s' "$value" | sed 's/[\\"]/\\&/g')\" ;;
  esac
  export "$name=$value"
done
# Below the size of the store's volume: a stream that meets the limit is refused its next write, and goes on when there is
# room; one that meets a full disk has to be opened again. The log takes 4 GiB by default, and the grants the rest.
export ROOTS_NATS_MAX_FILE_STORE="${ROOTS_NATS_MAX_FILE_STORE:-6GB}"
exec nats-server "$@"
