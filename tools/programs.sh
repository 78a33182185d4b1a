#!/bin/sh
# Programs of Debian that long tests use: a browser for the page, Prometheus for the alerts. Installs what is missing
# where that is possible without asking anybody; else the tests that need it are skipped, with the reason.
set -u

missing=""
for program in chromium prometheus; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not here:$missing; tests that need them are skipped (as root on Debian: tools/programs.sh)" >&2
    exit 0
fi

# The package of Prometheus would start a service of its own: `policy-rc.d` forbids that.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # names, one a word
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >/dev/null; then
    echo "could not be installed:$missing; tests that need them are skipped" >&2
fi
exit 0
