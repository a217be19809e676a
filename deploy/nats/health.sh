#!/bin/sh
# Asks nats-server about its health, and finds out whether a restart would help.
#
#   health.sh alive URL FOLDER [PID]    ends with 1 when a restart would help
#   health.sh heal URL FOLDER [PID]     asks the server to end in that case; ends with 1 while it is not healthy
#
# After a full disk, or another failed write, a stream refuses every write until nats-server starts again; only the full
# /healthz knows. A restart does not help while the disk is full, and readers would lose the server that still answers. It
# does not help while the server itself is not up: it reads its store, or waits for its peers. It comes once in
# MIN_SECONDS at most, so that a fault that a restart does not fix makes no loop. Acknowledged messages are on disk.
set -u

MIN_SECONDS=30
MIN_FREE_KIB=1024

mode=$1
url=$2
folder=$3
pid=${4:-1}

ask() {
  wget -q -T 2 -t 1 -O /dev/null "$url/healthz$1" 2>/dev/null
}

uptime_seconds() {
  # The 22nd field, in hundredths of a second since the machine's start. The program's name has no space.
  awk 'NR == FNR { now = $1; next } { print int(now - $22 / 100) }' /proc/uptime "/proc/$pid/stat"
}

free_kib() {
  df -Pk "$folder" | awk 'NR == 2 { print $4 }'
}

ask "" && exit 0
if ask "?js-server-only=true" && [ "$(free_kib)" -ge "$MIN_FREE_KIB" ] && [ "$(uptime_seconds)" -ge "$MIN_SECONDS" ]; then
  echo "a stream refuses writes, and the disk has room: nats-server has to start again"
  [ "$mode" = alive ] || kill -TERM "$pid"
  exit 1
fi
[ "$mode" = alive ]
