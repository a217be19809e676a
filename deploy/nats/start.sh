#!/bin/sh
# Starts nats-server with secrets from files: NAME_FILE names the file that has the value of the variable NAME, as
# for the services; of a variable whose value is a file's name, NAME_FILE is that name. nats.conf reads variables only;
# they are set here, so that no command line and no `inspect` shows them.
#
# Streams that were stored before there were accounts are given to the account that owns them now. Without this the server
# would leave them where they are and begin with none.
set -eu

refuse() {
  echo "$1; docs/operations.md, \"Streams from before there were accounts\"" >&2
  exit 1
}

has_streams() {
  [ -d "$1/streams" ] && [ -n "$(ls -A "$1/streams")" ]
}

# Returns once the streams below $1 are those of the account ROOTS.
adopt_streams() {
  before="$1/\$G"
  now="$1/ROOTS"
  has_streams "$before" || return 0
  [ ! -d "$1/\$SYS/_js_" ] || refuse "$before has the streams of a cluster, which says for each whose it is"
  ! has_streams "$now" || refuse "$before and $now both have streams"
  mkdir -p "$now"
  [ ! -d "$now/streams" ] || rmdir "$now/streams"
  mv "$before/streams" "$now/streams"
  echo "The streams in $before belong to the account ROOTS now." >&2
}

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

option=
for argument; do
  [ "$option" != -sd ] || adopt_streams "$argument/jetstream"
  option=$argument
done
exec nats-server "$@"
