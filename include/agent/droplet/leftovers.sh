# shellcheck shell=bash
# shellcheck disable=SC2154 # variables are shared with deploy_release.sh
# Part of deploy_release.sh: removes what a killed build has left, files and processes. The caller makes sure that no
# build of this app is at work. claims.py does the same for a run that only claims the droplet.
remove_leftovers() {
    local root=/opt/$system_name
    systemctl stop "caged-bluegreen-$system_name-*.service"
    [ -d "$root/releases" ] || return 0
    find "$root/releases" "$root/cache" -mindepth 1 -maxdepth 1 -name '*.partial.*' -exec rm -rf {} +
    [ ! -d "$root/repo.git" ] || find "$root/repo.git" -name '*.lock' -delete
}
