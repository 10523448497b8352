#!/usr/bin/env bash
# A real viewer, OHIF, shows the DICOM objects. The built viewer and the browser's driver are fetched into .viewer;
# then everything runs in a network namespace with loopback only: Orthanc has no bind address.
set -euo pipefail
cd "$(dirname "$0")/.."
# The newest version that `npm view` names is not always one that `npm pack` gives: this one is.
viewer=3.12.10 dcmjs=0.52.2 dcmqi=1.5.7 playwright=1.65.2
fetched=$PWD/.viewer

skip() {
    echo "skipped: $1" >&2
    exit 0
}

# Debian would start Orthanc as a service, open to the network: while it is installed, no service is started.
install() {
    local policy=/usr/sbin/policy-rc.d
    apt-get update -qq || true
    if [ -e "$policy" ]; then policy=""; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
    apt-get install -qq -y orthanc orthanc-dicomweb chromium npm iproute2 >/dev/null || true
    [ -z "$policy" ] || rm -f "$policy"
}

missing() {
    for program in Orthanc chromium npm node; do command -v "$program" >/dev/null || echo "$program"; done
}
if [ -n "$(missing)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then install; fi
[ -z "$(missing)" ] || skip "not installed, and cannot be without apt-get as root: $(missing | xargs)"
alone=(unshare --net)
[ "$(id -u)" = 0 ] || alone+=(--map-root-user)
"${alone[@]}" ip link set lo up 2>/dev/null ||
    skip "this machine allows no network namespace, without which Orthanc would be open to the network"

mkdir -p "$fetched"
# Each is complete or not there: what an interrupted run left is removed.
rm -rf "$fetched"/*.part
if [ ! -d "$fetched/ohif-$viewer" ]; then
    mkdir "$fetched/ohif.part"
    archive=$(npm pack --silent --pack-destination "$fetched/ohif.part" "@ohif/app@$viewer") ||
        skip "the viewer (@ohif/app $viewer) cannot be fetched"
    tar -xzf "$fetched/ohif.part/$archive" -C "$fetched/ohif.part" --strip-components 1
    mv "$fetched/ohif.part" "$fetched/ohif-$viewer"
fi
if [ ! -d "$fetched/dcmjs-$dcmjs" ]; then
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$fetched/dcmjs.part" "dcmjs@$dcmjs" ||
        skip "the second reader (dcmjs $dcmjs) cannot be fetched"
    mv "$fetched/dcmjs.part" "$fetched/dcmjs-$dcmjs"
fi
if [ ! -d "$fetched/dcmqi-$dcmqi" ]; then
    .venv/bin/python -m pip install --quiet --no-deps --target "$fetched/dcmqi.part" "dcmqi==$dcmqi" ||
        skip "the third reader (dcmqi $dcmqi) cannot be fetched"
    mv "$fetched/dcmqi.part" "$fetched/dcmqi-$dcmqi"
fi
if [ ! -d "$fetched/playwright-$playwright" ]; then
    .venv/bin/python -m pip install --quiet --target "$fetched/playwright.part" "playwright==$playwright" ||
        skip "the browser's driver (playwright $playwright) cannot be fetched"
    mv "$fetched/playwright.part" "$fetched/playwright-$playwright"
fi
export PELLUCID_VIEWER=$fetched/ohif-$viewer/dist PELLUCID_VIEWER_VERSION=$viewer
export PELLUCID_DCMJS=$fetched/dcmjs-$dcmjs PELLUCID_DCMQI=$fetched/dcmqi-$dcmqi
export PELLUCID_VIEWERS_PAGE=$PWD/docs/results/viewers.md
export PYTHONPATH=$fetched/playwright-$playwright${PYTHONPATH:+:$PYTHONPATH}
exec "${alone[@]}" sh -c 'ip link set lo up && exec "$@"' sh .venv/bin/python -m pytest -q -rs tests/viewer "$@"
