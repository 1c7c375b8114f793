"""Stand-ins for systemd's tools, for a HAProxy that no systemd runs."""

from __future__ import annotations

SYSTEMCTL = """#!/bin/sh
# Does for one HAProxy what Debian's haproxy.service does.
root=$BLUEGREEN_ROOT
echo "$*" >>"$root/systemctl.log"
config=$root/etc/haproxy/haproxy.cfg
case $1 in
    reload)
        haproxy -Ws -c -q -f "$config" -S "$root/run/haproxy-master.sock" || exit 1
        kill -USR2 "$(cat "$root/run/haproxy.pid")"
        ;;
    is-active)
        kill -0 "$(cat "$root/run/haproxy.pid")" 2>/dev/null
        ;;
    restart)
        kill "$(cat "$root/run/haproxy.pid")"
        while kill -0 "$(cat "$root/run/haproxy.pid")" 2>/dev/null; do sleep 0.02; done
        exec "$0" start haproxy
        ;;
    start)
        kill -0 "$(cat "$root/run/haproxy.pid" 2>/dev/null)" 2>/dev/null && exit 0
        setsid haproxy -Ws -f "$config" -S "$root/run/haproxy-master.sock" >>"$root/haproxy.log" 2>&1 &
        echo $! >"$root/run/haproxy.pid"
        ;;
    --quiet)
        # enable bluegreen-boot.service
        units=$root/etc/systemd/system
        mkdir -p "$units/multi-user.target.wants"
        ln -sf "$units/$3" "$units/multi-user.target.wants/$3"
        ;;
esac
"""

SYSTEMD_RUN = """#!/bin/sh
# Remembers the timers that are armed; a test fires them itself.
printf '%s\\n' "$@" | tr '\\n' '\\t' >>"$BLUEGREEN_ROOT/timers"
echo >>"$BLUEGREEN_ROOT/timers"
"""

SETPRIV = """#!/bin/sh
# There is one user only.
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
