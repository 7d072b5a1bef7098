#!/usr/bin/env bash
# Tier 3, inside the private host: set it up with kvmctl itself, run the tests, and
# see that they left it as they found it.
#
#   tier3.sh [FILTER…]       all of it, or the tests whose names contain a filter
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$REPO"
[[ $# -gt 0 ]] || set -- tier3:: converge::
KVMCTL=${CARGO_TARGET_DIR:-$REPO/target}/debug/kvmctl
WORK=$(mktemp -d)
export HOME=$WORK/home
mkdir "$HOME"

# What a host has that a guest may leave behind.
state() {
    virsh -q list --all --name | sort
    virsh -q net-list --all | sort
    virsh -q pool-list --all | sort
    virsh -q net-dumpxml default
    local network
    for network in $(virsh -q net-list --name); do
        virsh -q net-dhcp-leases "$network" | awk '{ print $3, $5 }' | sort
    done
    ip -o link | awk -F': ' '{ print $2 }' | sed 's/@.*//' | sort
    iptables-save | grep -v '^#' | sed 's/\[[0-9:]*\]//' || true
    find /var/lib/libvirt /etc/libvirt -type f -not -name '*.log' \
        -not -path '*/dnsmasq/*' -not -path '*/channel/*' | sort
    find /var/lib/kvmctl -type f -not -path '*/locks/*' -not -name '*lock' \
        -not -name 'events*' -not -name 'index*' -not -path '*/ssh/*' -not -path '*/slots/*' | sort
    # Which addresses were given out last is remembered; none may be held.
    grep -rh '^ .*uid:' /var/lib/kvmctl/slots || true
}

"$KVMCTL" setup --yes
for image in debian-12 debian-12-noagent; do
    "$KVMCTL" -q images import "$KVMCTL_TEST_IMAGES/$image.qcow2" --name "$image" --default-user debian
done
"$KVMCTL" -q images import "$KVMCTL_TEST_IMAGES/tiny.qcow2" --name tiny

state > "$WORK/before"
status=0
# cargo reads its own settings from the real home.
CARGO_HOME=${CARGO_HOME:-$(getent passwd root | cut -d: -f6)/.cargo} \
    RUSTUP_HOME=${RUSTUP_HOME:-$(getent passwd root | cut -d: -f6)/.rustup} \
    cargo test --offline --locked --test kvmctl-tests -- "$@" --test-threads=2 || status=$?
state > "$WORK/after"
if ! diff "$WORK/before" "$WORK/after"; then
    echo "error: the tests did not leave the host as they found it" >&2
    status=1
fi
rm -rf "$WORK"
exit "$status"
