#!/bin/sh
# Starts the root Emperor, and again when it dies: what systemd does, on machines without it.
# usage: supervise.sh ROOT (absolute); it ends on SIGTERM, after the Emperor has.
set -u

root=${1%/}
lib=$root/var/lib/insula
run=$root/run/insula
log=$lib/log/emperor.log
emperor='' stopping='' stopper=''

# A signal that comes while no Emperor runs only sets the flag.
trap 'stopping=1; [ -z "$emperor" ] || stop_emperor' TERM INT HUP

# Again and again: an Emperor that is just starting does not hear the first.
stop_emperor() {
    [ -z "$stopper" ] || return 0
    while kill -QUIT "$emperor" 2>/dev/null; do sleep 1; done &
    stopper=$!
}

# Everything below writes with O_APPEND, so the file can be cut while it is open.
keep_log_short() {
    trap 'kill "$pause"; exit' TERM INT HUP
    while :; do
        sleep 10 &
        pause=$!
        wait "$pause"
        # a killed supervisor leaves nothing behind
        kill -0 "$$" 2>/dev/null || exit
        [ "$(stat -c %s "$log")" -lt 10485760 ] || { cp "$log" "$log.1" && : >"$log"; }
    done
}
keep_log_short &
rotation=$!

start_emperor() {
    # The group lets the next start find and end what a killed Emperor left behind. A shell's
    # background command ignores INT and QUIT, and would hand that down to every customer's process.
    # When the machine's memory ends, the kernel takes apps; not everywhere may root ask for that.
    # It gives the platform its share of the processors, too.
    sh -c 'while read -r group; do echo $$ >"$group/cgroup.procs"; done <"$1"; shift
        { echo -900 >/proc/$$/oom_score_adj; } 2>/dev/null
        exec env --default-signal=INT,QUIT "$@"' sh \
        "$run/services.cgroup" "$lib/uwsgi/uwsgi" --ini "$root/etc/insula/emperor.ini" </dev/null &
    emperor=$!
    # the signal may have come while the node was made ready
    [ -z "$stopping" ] || stop_emperor
}

while [ -z "$stopping" ]; do
    if "$lib/venv/bin/insula" --root "${root:-/}" node boot && [ -z "$stopping" ]; then
        start_emperor
        # `wait` returns early when a trapped signal comes.
        while kill -0 "$emperor" 2>/dev/null; do wait "$emperor"; done
        emperor=''
    fi
    [ -n "$stopping" ] || sleep 1
done
kill "$rotation" $stopper 2>/dev/null
