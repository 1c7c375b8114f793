# shellcheck shell=bash
# shellcheck disable=SC2154 # variables are shared with deploy_release.sh
# Part of deploy_release.sh: whose this droplet is, as claims.py has it. The token of a later run is greater.

# In memory, because a full disk must not stop a claim; on the disk, because a claim outlives a restart.
token_files=("/run/bluegreen/$system_name.token" "/var/lib/bluegreen/$system_name.token")

# Until fd 8 is closed, no other run claims this droplet or starts a release on it.
lock_claims() {
    [ -d /run/bluegreen ] || install -d -m 0700 /run/bluegreen
    exec 8>"/run/bluegreen/$system_name.claim"
    flock --timeout 10 8
}

# Prints 0 if there is none.
token_in() {
    local token=
    [ ! -e "$1" ] || read -r token <"$1" || true
    if [[ $token =~ ^[0-9]+$ ]]; then
        echo "$token"
    else
        echo 0
    fi
}

newest_token() {
    local file token newest=0
    for file in "${token_files[@]}"; do
        token=$(token_in "$file")
        newest=$((token > newest ? token : newest))
    done
    echo "$newest"
}
