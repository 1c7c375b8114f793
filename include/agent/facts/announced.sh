# shellcheck shell=sh
# Says that systemd has made the cage, so that what systemd refuses is not taken for a word of the app's.
# The name that it is called by is what it says; then it becomes the command.
echo "$0"
exec "$@"
