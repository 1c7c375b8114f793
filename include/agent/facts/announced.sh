# shellcheck shell=sh
# Reports that systemd has made the cage, by the name that the shell was started with: what systemd refuses must
# not be taken for the app's error. Then the shell becomes the command.
echo "$0"
exec "$@"
