#!/usr/bin/env bash
# Making many small instances without waiting: one apply, against the bare
# tools under xargs -P4 and, with --loop, in a shell loop, which takes minutes.
# Real QEMU guests; needs root.
#
#   tests/bench/apply.sh [--loop] [COUNT]       20 unless told
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"
# shellcheck source=tests/bench/lib/real-host.sh
. "$HERE/lib/real-host.sh"
REAL_SIZE=(--image bench --cpus 1 --memory 128Mi --disk 8Gi)
LOOP=''
[[ ${1:-} != --loop ]] || { LOOP=yes; shift; }
COUNT=${1:-20}

bench_need qemu-img genisoimage xargs
bench_begin
bench_end() { real_end; }
real_begin
for ((at = 1; at <= COUNT; at++)); do
    echo "---"
    "$KVMCTL" instances create "bench-$at" "${REAL_SIZE[@]}" --label "$REAL_LABEL" --dry-run=client -o yaml
done > "$BENCH_DIR/stack.yaml"

commands=(
    "bare tools, xargs -P4" "seq -f bench-%g 1 $COUNT | xargs -P4 -n1 $BENCH_DIR/bare"
    "kvmctl apply" "$KVMCTL -q apply -f $BENCH_DIR/stack.yaml"
)
[[ -z $LOOP ]] || commands+=("bare tools, loop" "for i in \$(seq 1 $COUNT); do $BENCH_DIR/bare bench-\$i; done")
echo "== $COUNT instances, not waited for"
bench_compare 3 "$BENCH_DIR/remove" "$BENCH_DIR/remove" "${commands[@]}"
