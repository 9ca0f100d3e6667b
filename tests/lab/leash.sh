#!/bin/bash
# `leash.sh COMMAND…` with a pipe as stdin: when the pipe's other end is closed, by whatever end of
# whoever holds it, the command and all of its process group die. Start it in a session of its own.
exec 3<&0 0</dev/null
"$@" 3<&- &
command=$!
{
    read -r _ <&3
    kill -KILL 0
} >/dev/null 2>&1 &
leash=$!
exec 3<&-
wait "$command"
status=$?
kill "$leash"
exit "$status"
