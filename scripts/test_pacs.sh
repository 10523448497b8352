#!/usr/bin/env bash
# The tests that need an archive. Orthanc has no bind address and listens on every interface, so it and its clients
# run in a network namespace with loopback only.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian would start Orthanc as a service, open to the network: while it is installed, no service is started.
install() {
    local policy=/usr/sbin/policy-rc.d
    apt-get update -qq || true
    if [ -e "$policy" ]; then policy=""; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
    apt-get install -qq -y orthanc orthanc-dicomweb dcmtk iproute2 >/dev/null || true
    [ -z "$policy" ] || rm -f "$policy"
}

if ! command -v Orthanc >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    install
fi
if ! command -v Orthanc >/dev/null; then
    echo "skipped: Orthanc is not installed, and cannot be without apt-get as root" >&2
    exit 0
fi
alone=(unshare --net)
[ "$(id -u)" = 0 ] || alone+=(--map-root-user)
if ! "${alone[@]}" ip link set lo up 2>/dev/null; then
    echo "skipped: this machine allows no network namespace, without which Orthanc would be open to the network" >&2
    exit 0
fi
exec "${alone[@]}" sh -c 'ip link set lo up && exec "$@"' sh .venv/bin/python -m pytest -q -rs tests/pacs
