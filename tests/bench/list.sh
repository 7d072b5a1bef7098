#!/usr/bin/env bash
# Start-up and listing, against virsh, with 0, 10, 200 and 1000 domains.
#
#   tests/bench/list.sh [COUNT…]
#
# On a private libvirtd whose test driver holds the domains; nothing of the
# host is touched. Needs root, to become another user: as root, libvirtd would
# be the system's.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"
# shellcheck source=tests/bench/lib/test-daemon.sh
. "$HERE/lib/test-daemon.sh"

bench_need setpriv
[[ $EUID -eq 0 ]] || bench_die "this benchmark needs root" "sudo $0"
bench_begin
bench_end() { test_daemon_stop; }

one_size() {
    local count=$1 ours=$KVMCTL
    test_daemon_start nobody
    test_daemon_domains "$count"
    unset KVMCTL_URI KVMCTL_CONTEXT KVMCTL_STORE LIBVIRT_DEFAULT_URI
    export KVMCTL_CONFIG=$BENCH_DIR/config.yaml
    rm -f "$KVMCTL_CONFIG"
    "$KVMCTL" -q config set-context bench --uri "$TEST_URI" --store "$BENCH_DIR/store" >/dev/null
    "$KVMCTL" -q config use-context bench >/dev/null
    "$KVMCTL" -q store rebuild >/dev/null
    local seen
    seen=$("$KVMCTL" instances list --no-headers | grep -c '^vm' || true)
    [[ $seen -eq $count ]] || bench_die "kvmctl lists $seen of $count instances"
    echo
    echo "== $count domains"
    bench_compare 15 true true \
        "virsh list --all" "virsh -c '$TEST_URI' list --all >$BENCH_DIR/out" \
        "kvmctl instances list" "$ours instances list >$BENCH_DIR/out" \
        "kvmctl instances list --all -o wide" "$ours instances list --all -o wide >$BENCH_DIR/out"
    test_daemon_stop
}

start_up() {
    test_daemon_start nobody
    echo "== start and connect"
    bench_compare 15 true true \
        "virsh version" "virsh -c '$TEST_URI' version >$BENCH_DIR/out" \
        "kvmctl version" "$KVMCTL -c '$TEST_URI' version >$BENCH_DIR/out" \
        "kvmctl --version (no connection)" "$KVMCTL --version >$BENCH_DIR/out"
    test_daemon_stop
}

[[ $# -gt 0 ]] || start_up
for count in "${@:-10 200 1000}"; do
    for one in $count; do one_size "$one"; done
done
