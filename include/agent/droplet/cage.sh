# shellcheck shell=bash
# shellcheck disable=SC2154 # variables are shared with deploy_release.sh
# Part of deploy_release.sh: running code of a repository. Nothing of it is alive once run_caged has ended.

# run_caged NAME USER PROPERTY… -- COMMAND…: run a command in a transient unit, which ends with this job, $unit.
# systemd takes a $ in a word for a variable, so those that a word is to keep are doubled.
run_caged() {
    local name=$1 user=$2
    local -a properties=("${cage[@]/#/--property=}")
    shift 2
    while [ "$1" != -- ]; do
        properties+=("--property=$1")
        shift
    done
    shift
    systemd-run --quiet --wait --pipe --collect --unit="caged-$unit-$name" --property="User=$user" \
        --property="BindsTo=$unit.service" --property="After=$unit.service" \
        --property=KillSignal=SIGKILL --property=TasksMax=1024 --property=OOMScoreAdjust=500 \
        "${properties[@]}" -- "$@" 2>&1 | python3 -I "$here/limit_output.py" 262144 65536
}
