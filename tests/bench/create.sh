#!/usr/bin/env bash
# Making one instance without waiting, against the bare cost of overlay, ISO,
# define and start. Real QEMU guests on the system's libvirtd; needs root.
#
#   tests/bench/create.sh
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"
# shellcheck source=tests/bench/lib/real-host.sh
. "$HERE/lib/real-host.sh"
REAL_SIZE=(--image bench --cpus 1 --memory 128Mi --disk 8Gi)

bench_need qemu-img genisoimage
bench_begin
bench_end() { real_end; }
real_begin
echo "== one instance, not waited for"
bench_compare 11 "$BENCH_DIR/remove" true \
    "bare tools" "$BENCH_DIR/bare bench-1" \
    "kvmctl instances create" "$KVMCTL -q instances create bench-1 ${REAL_SIZE[*]} --label $REAL_LABEL --no-wait"
