#!/bin/bash
# What the tutorial's deploy.sh does on each droplet, in its order and with its pauses.
#
# Usage: tutorial_steps.sh REPOSITORY DIRECTORY MIRROR. It prints the seconds that Carton took.
# Only what would keep it from working is different: pkill may find nothing the first time, the app finds its
# modules, and the server does not hold the shell's output.
set -e
repository=$1 directory=$2
as_deployer() { runuser -u deploy -- "$@"; }

if [ -d "$directory" ]; then
    as_deployer git -C "$directory" pull --quiet origin main
else
    as_deployer git clone --quiet "$repository" "$directory"
    as_deployer git -C "$directory" checkout --quiet main
fi

cd "$directory"
began=$(date +%s.%N)
as_deployer env PERL_CARTON_MIRROR="$3" carton install --deployment >/tmp/carton.log 2>&1
ended=$(date +%s.%N)

pkill -f 'starman master' || true
sleep 2
as_deployer env PERL5LIB="$directory/local/lib/perl5" \
    starman --workers 4 --listen '*:8080' --pid /tmp/app.pid app.psgi >/tmp/starman.log 2>&1 </dev/null &
sleep 5
python3 -c "print($ended - $began)"
