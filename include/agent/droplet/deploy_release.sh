#!/bin/bash
# Builds a release, proves that it loads, activates it, and proves that it answers.
# It may be killed at any instruction and run again. Its last line on failure is `bluegreen: <cause>`.
# shellcheck disable=SC2016 # what stands in single quotes here is for another program
set -Eeuo pipefail
umask 022
cd /
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=${BASH_SOURCE[0]%/*}
# What is to be deployed, and how: the assignments that the agent has written. Those with a colon are never empty.
# shellcheck source=/dev/null
. "$here/settings.sh"
: "${system_name:?}" "${repository:?}" "${revision:?}"
: "${fetch_user:?}" "${build_user:?}" "${forge_refusals:?}" "${forge_patience:?}" "${load_timeout:?}" "${cage[0]:?}"
: "${unit:?}" "${start_text:?}" "${agent:?}"
: "${min_free_mb:?}" "${reserve_mb:?}" "${min_free_inodes:?}" "${reserve_inodes:?}"
run_user=$system_name

root=/opt/$system_name
mirror=$root/repo.git
release=$root/releases/$revision
reserve=$root/reserve
service=$system_name.service
unit_file=/etc/systemd/system/$service
# In memory, so that a full disk cannot hide the cause.
log=/run/bluegreen/$system_name.log

# shellcheck source=tokens.sh
. "$here/tokens.sh"
# shellcheck source=leftovers.sh
. "$here/leftovers.sh"
# shellcheck source=cage.sh
. "$here/cage.sh"
# shellcheck source=build.sh
. "$here/build.sh"

say() {
    echo "$*"
}

die() {
    trap - ERR
    echo "bluegreen: $*" >&2
    exit 1
}

unexpected() {
    if disk_is_full; then
        die "No space left on the disk of $root"
    fi
    die "line $1 of the deploy script failed: $2"
}

free_mb() {
    echo $(($(df --output=avail --block-size=1K /opt | tail -n 1) / 1024))
}

# How many more files can be made. Some file systems do not count them.
free_inodes() {
    local total free
    read -r total free < <(df --output=itotal,iavail /opt | tail -n 1)
    case $total in
        0 | -) echo 1000000000 ;;
        *) echo "$free" ;;
    esac
}

# Some programs do not name a full disk as their reason.
disk_is_full() {
    [ "$(free_mb)" -lt 1 ] || [ "$(free_inodes)" -lt 1 ]
}

partial=
trap 'unexpected "$LINENO" "$BASH_COMMAND"' ERR
trap '[ -z "$partial" ] || rm -rf "$partial"' EXIT

# attempt WHAT COMMAND…: run a command (not a function of several steps); if it fails, give the cause.
attempt() {
    local what=$1
    shift
    if ! "$@" </dev/null 2>&1 | tee "$log"; then
        die "$what: $(cause)"
    fi
}

# The most telling line of what the last attempt wrote.
cause() {
    if disk_is_full || grep -q 'No space left on device' "$log"; then
        echo "No space left on the disk of $root"
    else
        grep -m1 -E '^(fatal:|error:|ERROR|! )' "$log" || grep -E '[^[:space:]]' "$log" | tail -n 1 ||
            echo 'no reason given'
    fi
}

# Nothing of the repository's runs as this user, so the mirror holds what the repository has.
as_fetcher() {
    setpriv --reuid="$fetch_user" --regid="$(id -g "$fetch_user")" --init-groups --no-new-privs --reset-env \
        env GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=http:https:ssh GIT_NO_REPLACE_OBJECTS=1 \
        GIT_SSH_COMMAND='ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15' "$@"
}

preflight() {
    local tool user free inodes
    for tool in perl carton git; do
        command -v "$tool" >/dev/null || die "$tool is not installed on this droplet"
    done
    for user in "$fetch_user" "$build_user" "$run_user"; do
        getent passwd "$user" >/dev/null || die "the user $user does not exist on this droplet"
    done
    free=$(free_mb)
    if [ "$free" -lt "$min_free_mb" ]; then
        die "No space left on the disk of $root: $free MB are free, $min_free_mb MB are needed"
    fi
    inodes=$(free_inodes)
    if [ "$inodes" -lt "$min_free_inodes" ]; then
        die "No space left on the disk of $root: it has room for $inodes more files, $min_free_inodes are needed"
    fi
}

# Room that is root's, in megabytes and in files: a release that fills the disk leaves enough to build the next one. It
# is stopped first, because it would fill this, too. Only idle droplets are deployed to.
make_room() {
    rm -rf "$reserve.old" "$reserve.new"
    if [ ! -e "$reserve" ] ||
        { [ "$(free_mb)" -ge "$min_free_mb" ] && [ "$(free_inodes)" -ge "$min_free_inodes" ]; }; then
        return
    fi
    hold_own_claim || die 'another run has claimed this droplet; nothing was changed'
    say "the disk is full, so $service is stopped, and the $reserve_mb MB and $reserve_inodes files are used that are" \
        "kept for this"
    systemctl stop "$service" || true
    # Renamed first: half of it is no room to rely on.
    mv -T "$reserve" "$reserve.old"
    rm -rf "$reserve.old"
    give_claim_up
}

keep_room() {
    if [ -e "$reserve" ] || [ "$(free_mb)" -lt $((2 * reserve_mb)) ] ||
        [ "$(free_inodes)" -lt $((2 * reserve_inodes)) ]; then
        return
    fi
    if ! fill_reserve "$reserve.new"; then
        rm -rf "$reserve.new"
        return
    fi
    mv -T "$reserve.new" "$reserve"
}

fill_reserve() {
    install -d -m 700 "$1" && fallocate --length "${reserve_mb}M" "$1/room" &&
        (cd "$1" && seq "$reserve_inodes" | xargs touch)
}

fetch() {
    as_fetcher git -C "$mirror" -c fetch.unpackLimit=1 -c gc.autoDetach=false -c http.lowSpeedLimit=1 \
        -c http.lowSpeedTime=30 fetch --quiet --force "$@"
}

fetch_all_refs() {
    fetch --prune -- "$repository" '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
}

# A forge in trouble is asked again for a while; one that refuses is not.
patiently() {
    local said pause=1 end=$((SECONDS + forge_patience))
    until said=$("$@" 2>&1 </dev/null | tail -c 4000); do
        echo "$said"
        if [ "$SECONDS" -ge "$end" ] || grep -q -E "$forge_refusals" <<<"$said"; then
            return 1
        fi
        sleep "$pause"
        pause=$((pause < 8 ? pause * 2 : 8))
    done
    # Only its last failure explains one.
    echo "$said"
}

# Only what a ref leads to is known to be whole.
mirror_has_revision() {
    [ -n "$(as_fetcher git -C "$mirror" for-each-ref --count=1 --contains "$revision" 2>/dev/null || true)" ]
}

make_mirror() {
    install -d -m 755 -o "$fetch_user" "$mirror"
    attempt "cannot make $mirror" as_fetcher git init --quiet --bare "$mirror"
}

update_mirror() {
    make_mirror
    ! mirror_has_revision || return 0
    say "fetching from $repository"
    if ! fetch_all_refs </dev/null && ! as_fetcher git -C "$mirror" fsck --connectivity-only; then
        say "the mirror is damaged and is made anew"
        rm -rf "$mirror"
        make_mirror
    fi
    attempt "cannot fetch from $repository" patiently fetch_all_refs
    # A commit that no branch or tag leads to can be asked for by its name.
    mirror_has_revision || attempt "cannot fetch $revision from $repository" \
        patiently fetch -- "$repository" "+$revision:refs/bluegreen/$revision"
}

# The server's command is a setting, not part of the revision, so it may change while the release stays.
write_start_script() {
    local new=$1/.bluegreen/start.new
    printf '%s' "$start_text" >"$new"
    chmod 755 "$new"
    put_in_place "$new" "$1/.bluegreen/start"
}

# The file is the old or the new one, and never half of one, even if the power goes.
put_in_place() {
    sync "$1"
    mv -T "$1" "$2"
    sync "${2%/*}"
}

# Load the application once, confined like the service and with its environment. What the app needs beyond the cage
# is in the unit's own drop-in, which is root's.
load() {
    local status=0 said
    local -a loosened
    say "loading the app"
    said=$(python3 -I "$here/local_cage.py" "$unit_file.d/local.conf" "${cage[@]}")
    mapfile -t loosened < <(printf '%s' "$said")
    run_caged load "$run_user" "${loosened[@]}" "WorkingDirectory=$1" "EnvironmentFile=-/etc/default/$system_name" \
        "StateDirectory=$system_name" -- "$1/.bluegreen/start" check </dev/null 2>&1 | tee "$log" || status=$?
    case $status in
        0) ;;
        124 | 137) die "the app does not load: not within $load_timeout s" ;;
        *) die "the app does not load: $(perl_cause "$1")" ;;
    esac
}

perl_cause() {
    { grep -m1 -E ' at .+ line [0-9]+' "$log" || cause; } |
        sed -E ":again; s|^Error while loading [^:]+: ||; t again; s|$1/||g"
}

# Hold the claims while the service is stopped; fails if another run has claimed the droplet.
hold_own_claim() {
    lock_claims && [ "$(newest_token)" -le "$(token_in "$here/token")" ]
}

give_claim_up() {
    exec 8>&-
}

# The agent goes on in Python; what it writes last is the cause if it fails.
activate() {
    python3 -B "$agent" activate - <"$here/activate.json" || exit 1
}

install -d -m 700 /run/bluegreen
exec 9>"/run/bluegreen/$system_name.lock"
flock --timeout 30 9 || die "another deploy of $system_name is at work on this droplet"
install -d -m 755 "$root" "$root/releases" "$root/cache" "$root/activated"
# This job holds the lock, so no build is at work.
remove_leftovers
make_room
preflight
if [ -d "$release" ]; then
    say "the release $revision is built already"
    write_start_script "$release"
    load "$release"
else
    update_mirror
    build
fi
activate
keep_room
say "$revision runs and is healthy"
