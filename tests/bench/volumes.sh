#!/usr/bin/env bash
# Volumes against the bare virsh calls: making one, attaching it to a guest that runs (serial, live and
# in the definition), and detaching it. Real QEMU guests on the system's libvirtd; needs root.
#
#   tests/bench/volumes.sh
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/bench/lib/bench.sh
. "$HERE/lib/bench.sh"
# shellcheck source=tests/bench/lib/real-host.sh
. "$HERE/lib/real-host.sh"
REAL_SIZE=(--image bench --cpus 1 --memory 128Mi --disk 8Gi)

bench_need qemu-img genisoimage
bench_begin
bench_end() {
    [[ -n ${REAL_MADE:-} ]] || return 0
    "$KVMCTL" -q delete instances -l "$REAL_LABEL" --force -y > /dev/null
    "$KVMCTL" -q volumes delete bench-vol > /dev/null 2>&1
    real_end
}
real_begin

cat > "$BENCH_DIR/plain" <<'PLAIN'
#!/usr/bin/env bash
# One volume by virsh, as kvmctl makes it: `make`, `drop`, `plug`, `unplug`.
set -euo pipefail
virsh() { command virsh -q -c "$REAL_URI" "$@" > /dev/null; }
file=$POOL_DIR/plain.qcow2
case $1 in
    make) virsh vol-create-as "${POOL_DIR##*/}" plain.qcow2 1G --format qcow2 --allocation 0 ;;
    drop) virsh vol-delete plain.qcow2 --pool "${POOL_DIR##*/}" ;;
    plug)
        virsh attach-disk bench-1 "$file" vdb --live --config --driver qemu --subdriver qcow2 \
            --targetbus virtio --serial 0123456789abcdef0123
        # It is attached when the guest has looked at it.
        until [[ $(command virsh -q -c "$REAL_URI" domblkstat bench-1 vdb | awk '$2 == "rd_req" { print $3 }') -gt 0 ]]; do
            sleep 0.01
        done ;;
    unplug)
        virsh detach-disk bench-1 vdb --live --config
        while command virsh -q -c "$REAL_URI" domblklist bench-1 | grep -q vdb; do sleep 0.01; done ;;
esac
PLAIN
chmod +x "$BENCH_DIR/plain"

echo "== a volume of 1 GiB"
bench_compare 21 "$BENCH_DIR/plain drop 2>/dev/null; $KVMCTL -q volumes delete bench-vol 2>/dev/null; true" true \
    "virsh vol-create-as" "$BENCH_DIR/plain make" \
    "kvmctl volumes create" "$KVMCTL -q volumes create bench-vol --size 1G"
"$BENCH_DIR/plain" drop 2>/dev/null || true
"$BENCH_DIR/plain" make
"$KVMCTL" -q volumes delete bench-vol > /dev/null 2>&1 || true
"$KVMCTL" -q volumes create bench-vol --size 1G > /dev/null

"$KVMCTL" -q instances create bench-1 "${REAL_SIZE[@]}" --label "$REAL_LABEL" --no-wait > /dev/null
# Until its kernel listens to what is plugged in.
sleep "${KVMCTL_BENCH_BOOT:-20}"
echo "== attached to a guest that runs, until the guest has it"
bench_compare 11 "$BENCH_DIR/plain unplug 2>/dev/null; $KVMCTL -q volumes detach bench-vol bench-1 > /dev/null 2>&1; sleep 1" true \
    "virsh attach-disk" "$BENCH_DIR/plain plug" \
    "kvmctl volumes attach" "$KVMCTL -q volumes attach bench-vol bench-1"
