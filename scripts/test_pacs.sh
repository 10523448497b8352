#!/usr/bin/env bash
# The tests that need an archive. Orthanc has no bind address and listens on every interface, so it and its clients
# run in a network namespace with loopback only.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v Orthanc >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -qq -y orthanc orthanc-dicomweb dcmtk iproute2 >/dev/null
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
