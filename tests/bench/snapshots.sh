#!/usr/bin/env bash
# A snapshot of a running guest's disk against plain `qemu-img convert -c` and `virsh backup-begin`,
# and an incremental one against a full one: time and size, on the same data in one run.
# Real QEMU guests on the system's libvirtd; needs root.
#
#   tests/bench/snapshots.sh [DIRECTORY…]     what the disk is filled with (default: /usr/bin /usr/lib)
#   KVMCTL_BENCH_MIB=N                        how much of it (default: 1600)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"
# shellcheck source=tests/bench/lib/real-host.sh
. "$HERE/lib/real-host.sh"
REAL_SIZE=(--image bench --cpus 1 --memory 128Mi --disk 64Mi)
MIB=${KVMCTL_BENCH_MIB:-1600}

# The files, one after the other, as the content of a raw disk.
fill() {
    truncate -s 0 "$POOL_DIR/fill.raw"
    # head ends before find does.
    (find "$@" -xdev -type f -size +4k -print0 | sort -z | xargs -0 cat 2>/dev/null || true) |
        head -c "${MIB}M" > "$POOL_DIR/fill.raw"
    truncate -s "$((MIB + 512))M" "$POOL_DIR/fill.raw"
}

remove() {
    "$KVMCTL" -q delete instance bench-1 --force > /dev/null 2>&1 || true
    local snapshot
    for snapshot in $("$KVMCTL" get snapshots -o name 2>/dev/null); do
        "$KVMCTL" -q delete "$snapshot" > /dev/null
    done
    "$KVMCTL" -q delete volume benchdata > /dev/null 2>&1 || true
    rm -f "$POOL_DIR"/bench-* "$POOL_DIR"/fill.raw
    virsh -q -c "$REAL_URI" pool-refresh "$REAL" > /dev/null 2>&1 || true
    real_end
}

# Usage: measure LABEL FILE COMMAND…: seconds, and the bytes of FILE (a pattern) on the disk.
measure() {
    local label=$1 file=$2 begun ended
    shift 2
    sync
    begun=$(date +%s.%N)
    "$@" > "$BENCH_DIR/log" 2>&1 || { cat "$BENCH_DIR/log" >&2; bench_die "measuring failed: $label"; }
    ended=$(date +%s.%N)
    # shellcheck disable=SC2086 # a pattern
    du -cB1 $file | tail -n 1 | awk -v label="$label" -v s="$begun" -v e="$ended" -v first="${FIRST:-}" '
        { took = e - s; printf "%-44s %8.1f s %8.1f MiB", label, took, $1 / 1048576
          if (first != "") printf "  %5.1f x as fast", first / took
          print "" }'
    TOOK=$(awk -v s="$begun" -v e="$ended" 'BEGIN { print e - s }')
}

backup_begin() {
    cat > "$BENCH_DIR/backup.xml" <<XML
<domainbackup mode='push'><disks><disk name='vdb' backup='yes' type='file'><driver type='qcow2'/>
<target file='$POOL_DIR/bench-backup.qcow2'/></disk><disk name='vda' backup='no'/><disk name='sda' backup='no'/></disks></domainbackup>
XML
    virsh -q -c "$REAL_URI" event bench-1 job-completed --timeout 600 > /dev/null &
    local waiting=$!
    sleep 0.2
    virsh -q -c "$REAL_URI" backup-begin bench-1 "$BENCH_DIR/backup.xml"
    wait "$waiting"
}


# The guest writes as a guest does: through QEMU. Usage: guest_writes PATTERN AT LENGTH
guest_writes() {
    virsh -q -c "$REAL_URI" qemu-monitor-command bench-1 --hmp \
        "qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend \"write -P $1 $2 $3\"" > /dev/null
}

bench_need qemu-img
bench_begin
bench_end() { remove; }
real_begin
[[ $# -gt 0 ]] || set -- /usr/bin /usr/lib
fill "$@"
# Beside the pool: the pool's own list need not know it.
qemu-img convert -f raw -O qcow2 "$POOL_DIR/fill.raw" "$BENCH_DIR/fill.qcow2"
rm "$POOL_DIR/fill.raw"
"$KVMCTL" -q volumes import "$BENCH_DIR/fill.qcow2" --name benchdata > /dev/null
"$KVMCTL" -q instances create bench-1 "${REAL_SIZE[@]}" --volume benchdata --label "$REAL_LABEL" --no-wait > /dev/null
DISK=$(find "$POOL_DIR" -name 'benchdata.*.qcow2')
# What plain qemu-img can read: nobody writes to it.
cp --sparse=always "$DISK" "$POOL_DIR/bench-copy.qcow2"
echo "== a disk with ${MIB} MiB of files"
measure "qemu-img convert -c (of a copy at rest)" "$POOL_DIR/bench-convert.qcow2" \
    qemu-img convert -c -f qcow2 -O qcow2 "$POOL_DIR/bench-copy.qcow2" "$POOL_DIR/bench-convert.qcow2"
FIRST=$TOOK
measure "virsh backup-begin (not compressed)" "$POOL_DIR/bench-backup.qcow2" backup_begin
measure "kvmctl snapshots create (full)" "$POOL_DIR/full.*.snap.qcow2" \
    "$KVMCTL" -q snapshots create full --volume benchdata
guest_writes 0x5a 64M 16M
measure "kvmctl snapshots create --base (16 MiB new)" "$POOL_DIR/delta.*.snap.qcow2" \
    "$KVMCTL" -q snapshots create delta --volume benchdata --base full
"$KVMCTL" -q instances stop bench-1 --force --timeout 0s > /dev/null
measure "kvmctl snapshots create (at rest)" "$POOL_DIR/rest.*.snap.qcow2" \
    "$KVMCTL" -q snapshots create rest --volume benchdata
