#!/bin/sh
# Starts the root Emperor, and again when it dies: what systemd does, on machines without it.
# usage: supervise.sh ROOT (absolute); it ends on SIGTERM, after the Emperor has.
set -u

root=${1%/}
lib=$root/var/lib/insula
run=$root/run/insula
log=$lib/log/emperor.log
emperor='' stopping=''

# A signal that comes while no Emperor runs only sets the flag.
trap 'stopping=1; [ -z "$emperor" ] || kill -QUIT "$emperor" 2>/dev/null' TERM INT HUP

# Everything below writes with O_APPEND, so the file can be cut while it is open.
keep_log_short() {
    trap 'kill "$pause"; exit' TERM INT HUP
    while :; do
        sleep 60 &
        pause=$!
        wait "$pause"
        [ "$(stat -c %s "$log")" -lt 10485760 ] || { cp "$log" "$log.1" && : >"$log"; }
    done
}
keep_log_short &
rotation=$!

start_emperor() {
    # The group lets the next start find and end what a killed Emperor left behind. A shell's
    # background command ignores INT and QUIT, and would hand that down to every customer's process.
    sh -c 'read -r group <"$1" && echo $$ >"$group/cgroup.procs"; shift
        exec env --default-signal=INT,QUIT "$@"' sh \
        "$run/services.cgroup" "$lib/uwsgi/uwsgi" --ini "$root/etc/insula/emperor.ini" </dev/null &
    emperor=$!
}

while [ -z "$stopping" ]; do
    if "$lib/venv/bin/insula" --root "${root:-/}" node boot; then
        start_emperor
        # `wait` returns early when a trapped signal comes.
        while kill -0 "$emperor" 2>/dev/null; do wait "$emperor"; done
        emperor=''
    fi
    [ -n "$stopping" ] || sleep 1
done
kill "$rotation" 2>/dev/null
