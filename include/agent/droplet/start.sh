#!/bin/bash
# Starts this release; with the argument `check`, only loads the application, and ends.
set -euo pipefail
# Assigned in the head that this script is sent with.
: "${psgi:?}" "${load_timeout:?}" "${command[0]:?}"

# The real directory: `current` may point elsewhere tomorrow.
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

export PERL5LIB="$PWD/local/lib/perl5:$PWD/lib"
export PATH="$PWD/local/bin:/usr/local/bin:/usr/bin:/bin"
# Each framework has its own mode for production; the app's environment may name another.
export PLACK_ENV="${PLACK_ENV:-production}"
export MOJO_MODE="${MOJO_MODE:-$PLACK_ENV}" DANCER_ENVIRONMENT="${DANCER_ENVIRONMENT:-$PLACK_ENV}"
export BLUEGREEN_PSGI=$psgi

if [ "${1-}" = check ]; then
    exec timeout --kill-after=5 "$load_timeout" \
        perl -MPlack::Util -e 'Plack::Util::load_psgi(shift)' .bluegreen/revision.psgi
fi
exec "${command[@]}"
