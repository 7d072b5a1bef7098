#!/usr/bin/env bash
# Putting 1, 100 and 1000 forwards into force with one reconcile, against one bare
# iptables-restore of the same rules, and a reconcile that finds nothing to do. On a
# private host with a libvirtd of its own; needs root.
#
#   tests/bench/forwards.sh [COUNT…]
#
#   KVMCTL_BENCH_IMAGE=FILE  the image (default: the small test guest, built)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"

outside() {
    [[ $EUID -eq 0 ]] || bench_die "this benchmark needs root" "sudo $0"
    bench_need iptables-restore
    bench_begin
    local image=${KVMCTL_BENCH_IMAGE:-$BENCH_DIR/tiny.qcow2}
    [[ -e $image ]] || "$BENCH_REPO/tests/lib/tiny-image.sh" "$image"
    KVMCTL_BENCH_IMAGE=$image "$BENCH_REPO/tests/lib/private-host.sh" "$BENCH_DIR/host" "$0" --inside "$@"
}

inside() {
    bench_begin
    export HOME=$BENCH_DIR
    "$KVMCTL" -q setup --yes --no-probe > /dev/null
    "$KVMCTL" -q images import "$KVMCTL_BENCH_IMAGE" --name tiny > /dev/null
    local count
    for count in "$@"; do
        measure "$count"
    done
}

# Usage: instance FIRST LAST NAME. It has the address that it needs, and need not run.
instance() {
    local at
    {
        printf 'apiVersion: kvmctl/v1\nkind: Instance\nmetadata: {name: %s}\n' "$3"
        printf 'spec: {image: tiny, cpus: 1, memory: 96Mi, disk: 64Mi, ports: ['
        for ((at = $1; at <= $2; at++)); do printf '"%d:80",' $((20000 + at)); done
        printf ']}\n'
    } > "$BENCH_DIR/$3.yaml"
    "$KVMCTL" -q apply -f "$BENCH_DIR/$3.yaml" --no-wait > "$BENCH_DIR/apply.log" 2>&1 || {
        cat "$BENCH_DIR/apply.log" >&2
        bench_die "no forwards"
    }
    virsh -q destroy "$3" 2> /dev/null || true
}

# Usage: measure COUNT
measure() {
    local at own="$BENCH_DIR/own.rules" empty="$BENCH_DIR/empty.rules"
    # In the lists of instances, a hundred each, so that many are made at once.
    for ((at = 1; at <= $1; at += 100)); do
        instance "$at" $((at + 99 < $1 ? at + 99 : $1)) "web-$((at / 100))"
    done
    # Our chains with all that is in them, and with nothing.
    iptables-save | grep -E '^[*]|^COMMIT|KVMCTL' > "$own"
    # The jump in raw says whether the table was ours, and then no longer does.
    awk '/^[*]/ { print; count = 0; raw = $1 == "*raw" }
        /^:KVMCTL/ { chains[++count] = substr($1, 2) }
        /^-A/ && $2 !~ /^KVMCTL/ { sub(/^-A/, "-D"); print raw ? "-F PREROUTING" : $0 }
        /^COMMIT/ {
            for (at = 1; at <= count; at++) print "-F " chains[at]
            for (at = 1; at <= count; at++) print "-X " chains[at]
            print
        }' "$own" > "$empty"
    echo "== $1 forwards, $(grep -c -- '^-A KVMCTL' "$own") rules"
    local take_away="iptables-restore --noflush -w 5 < $empty"
    bench_compare 7 "$take_away" true \
        "bare iptables-restore" "iptables-restore --noflush -w 5 < $own" \
        "kvmctl reconcile" "$KVMCTL -q reconcile"
    "$KVMCTL" -q reconcile > /dev/null 2>&1 || true
    bench_compare 7 true true "kvmctl reconcile, nothing to do" "$KVMCTL -q reconcile"
}

if [[ ${1:-} == --inside ]]; then
    shift
    inside "$@"
else
    [[ $# -gt 0 ]] || set -- 1 100 1000
    outside "$@"
fi
