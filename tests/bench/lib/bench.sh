# shellcheck shell=bash
# What the benchmarks share: the program, a place to work, rounds that interleave.
#
#   KVMCTL_BIN=PATH         the kvmctl to measure (default: the crate's release build)
#   KVMCTL_BENCH_ROUNDS=N   how often each command is measured

BENCH_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
KVMCTL=${KVMCTL_BIN:-${CARGO_TARGET_DIR:-$BENCH_REPO/target}/release/kvmctl}

bench_die() {
    echo "error: $1" >&2
    [[ -z ${2:-} ]] || echo "hint: $2" >&2
    exit 1
}

# Usage: bench_need COMMAND…
bench_need() {
    local tool
    for tool in hyperfine virsh "$@"; do
        command -v "$tool" >/dev/null || bench_die "no $tool here" "apt-get install hyperfine libvirt-clients $*"
    done
    [[ -x $KVMCTL ]] || bench_die "no $KVMCTL" "cargo build --release"
}

# A directory that the script's end removes, after the function bench_end if there is one.
bench_begin() {
    BENCH_DIR=$(mktemp -d)
    chmod 755 "$BENCH_DIR"
    trap bench_leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

bench_leave() {
    local status=$?
    trap - EXIT
    set +e
    [[ $(type -t bench_end) != function ]] || bench_end
    rm -rf --one-file-system "$BENCH_DIR"
    exit "$status"
}

# Measure commands in turn, round after round, so that what else the machine
# does falls on all of them alike; then print median, least and most.
#
# Usage: bench_compare ROUNDS PREPARE CLEANUP LABEL COMMAND [LABEL COMMAND]…
# Numbers relate to the first command. PREPARE and CLEANUP are not measured.
bench_compare() {
    local rounds=${KVMCTL_BENCH_ROUNDS:-$1} prepare=$2 cleanup=$3 round at
    shift 3
    local pairs=("$@") results=$BENCH_DIR/results one=$BENCH_DIR/one.csv
    : > "$results"
    for ((round = 0; round < rounds; round++)); do
        for ((at = 0; at < ${#pairs[@]}; at += 2)); do
            hyperfine --style none --runs 1 --export-csv "$one" --shell bash \
                --prepare "$prepare" --cleanup "$cleanup" "${pairs[at + 1]}" \
                > "$BENCH_DIR/hyperfine.log" 2>&1 || {
                cat "$BENCH_DIR/hyperfine.log" >&2
                bench_die "measuring failed: ${pairs[at + 1]}"
            }
            # The command itself may have commas, but no number comes after it
            # than these seven.
            awk -F, -v label="${pairs[at]}" 'NR > 1 { print label "\t" $(NF - 6) }' "$one" >> "$results"
        done
    done
    bench_table "$results" "$rounds" "${pairs[0]}"
}

bench_table() {
    sort -t $'\t' -k1,1 -k2,2g "$1" | awk -F '\t' -v rounds="$2" -v first="$3" '
        { values[$1, ++count[$1]] = $2 * 1000 }
        function median(label,   n) {
            n = count[label]
            return n % 2 ? values[label, (n + 1) / 2] : (values[label, n / 2] + values[label, n / 2 + 1]) / 2
        }
        END {
            printf "%-34s %10s %10s %10s %8s\n", "", "median/ms", "least", "most", "ratio"
            show(first)
            for (label in count) if (label != first) show(label)
            print "(" rounds " rounds, in turn)"
        }
        function show(label) {
            printf "%-34s %10.1f %10.1f %10.1f %8.2f\n", label, median(label),
                values[label, 1], values[label, count[label]], median(label) / median(first)
        }'
}
