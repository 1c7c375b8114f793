"""Everything about a machine that must not change because somebody looks at it."""

from __future__ import annotations

from sandbox import Machine

# The login itself leaves traces; everything else counts, names, contents, owners and modes.
LEFT_OUT = {
    "/proc": "the kernel's",
    "/sys": "the kernel's",
    "/dev": "the kernel's; /dev/shm, which is none, is looked at below",
    "/run/log": "the journal: sshd says who logs in",
    "/var/log/journal": "the same, where it is kept",
    "/var/log/auth.log": "the same",
    "/var/log/syslog": "the same",
    "/var/log/haproxy.log": "HAProxy's health checks",
    "/var/log/wtmp": "logins",
    "/var/log/lastlog": "logins",
    "/run/utmp": "logins",
    "/run/systemd/sessions": "the login's session",
    "/run/systemd/users": "the login's session",
    "/run/systemd/transient": "the login's session scope",
    "/run/systemd/units": "systemd's own, of units while they run; those are listed below",
    "/run/systemd/journal": "the journal's streams",
    "/run/user": "the login's session",
    "'/tmp/systemd-private-*-app-watched.service-*'": "the app's server makes files there all the time",
    "/run/motd.dynamic": "what the login is greeted with",
}
_PRUNED = " -o ".join(f"-path {path}" for path in LEFT_OUT)

# Of /run itself only the time is left out: the login's session comes and goes there.
_SHOW = f"""
find / /dev/shm \\( {_PRUNED} -o -path '/opt/*/reserve/*' \\) -prune -o -path /run \
    -o -printf '%p %y %u %g %m %s %T@ %C@ %l\\n' |
    # Where systemd puts a cage together, the time changes, and nothing else.
    grep -v -E '^(/dev|/tmp|/run/systemd/propagate) ' | sort
# What packages own is not read again: it cannot change without the time of change above.
# Nor is the room that is kept for the next deploy: nothing is in it.
find / \\( {_PRUNED} -o -path /usr/lib -o -path /usr/share -o -path /usr/bin \\
    -o -path '/opt/*/reserve' \\) -prune -o -type f -print0 |
    sort -z | xargs -0 sha256sum
systemctl list-units --all --full --plain --no-legend | grep -v -E '^(session-|user-|user@|run-user)' |
    awk '{{print $1, $2, $3, $4}}' | sort
"""
# Not what comes and goes with a login, nor what the kernel runs.
_PROCESSES = """
ps -eo pid,ppid,lstart,args | grep -v -E 'sshd: |ps -eo|systemd --user|sd-pam|sh -c|grep|\\[.*\\]'
"""
_HAPROXY = """
[ -S /run/haproxy/admin.sock ] || exit 0
echo 'show map /etc/haproxy/traffic.map' | socat - /run/haproxy/admin.sock
echo 'show stat' | socat - /run/haproxy/admin.sock |
    awk -F, '$1 ~ /frontend|backend|pxname/ {
        print $1, $2, $5, $8, $9, $10, $13, $14, $15, $18, $19, $25, $41, $42, $44
    }'
"""


def snapshot(machine: Machine) -> list[str]:
    """Return files with their hashes, units, processes, traffic map and HAProxy's counters."""
    return [
        line for script in (_SHOW, _PROCESSES, _HAPROXY) for line in machine.run(script).stdout.splitlines()
    ]
