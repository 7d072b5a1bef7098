# shellcheck shell=bash
# A pool, a network and an image of the benchmark's own on the real libvirtd, and the bare tools'
# way to make the same guest.
#
#   KVMCTL_BENCH_IMAGE=FILE  the image (default: the small test guest, built)

REAL=kvmbench
REAL_URI=qemu:///system
REAL_LABEL=kvmbench=$$

# Usage: real_begin. Sets IMAGE_FILE, POOL_DIR.
real_begin() {
    [[ $EUID -eq 0 ]] || bench_die "this benchmark needs root" "sudo $0"
    POOL_DIR=/var/lib/libvirt/$REAL
    [[ ! -e $POOL_DIR ]] || bench_die "$POOL_DIR is there already" "rm -r $POOL_DIR, if it was left behind by a benchmark"
    # A URI in the environment would put the context's pool and network aside.
    unset KVMCTL_URI KVMCTL_CONTEXT KVMCTL_STORE LIBVIRT_DEFAULT_URI
    export KVMCTL_CONFIG=$BENCH_DIR/config.yaml REAL_URI
    if virsh -q -c "$REAL_URI" list --all --name | grep -qE '^(template|bench-[0-9]+)$'; then
        bench_die "domains named template or bench-N are there already"
    fi
    local image=${KVMCTL_BENCH_IMAGE:-$BENCH_DIR/tiny.qcow2}
    [[ -e $image ]] || "$BENCH_REPO/tests/lib/tiny-image.sh" "$image"
    REAL_MADE=1
    "$KVMCTL" -q config set-context bench --uri "$REAL_URI" --pool "$REAL" --network "$REAL" --store "$BENCH_DIR/store" > /dev/null
    "$KVMCTL" -q config use-context bench > /dev/null
    "$KVMCTL" -q setup --yes --no-probe --pool-path "$POOL_DIR" > /dev/null
    "$KVMCTL" -q images import "$image" --name bench > /dev/null
    BASE=$(find "$POOL_DIR" -name 'kvmctl-image-*.qcow2')
    real_template
}

# The domain that kvmctl makes, as text with holes: the bare way defines the same.
real_template() {
    "$KVMCTL" -q instances create template "${REAL_SIZE[@]}" --label "$REAL_LABEL" --no-wait > /dev/null
    virsh -q -c "$REAL_URI" dumpxml --inactive template > "$BENCH_DIR/template.xml"
    cp "$(find "$POOL_DIR" -name 'template.*.seed.iso')" "$BENCH_DIR/seed.iso"
    "$KVMCTL" -q delete instance template --force > /dev/null
    mkdir "$BENCH_DIR/seed"
    echo '{"instance-id":"bench"}' > "$BENCH_DIR/seed/meta-data"
    printf '#cloud-config\n{}\n' > "$BENCH_DIR/seed/user-data"
    printf 'version: 2\n' > "$BENCH_DIR/seed/network-config"
    export BENCH_DIR POOL_DIR BASE
    cat > "$BENCH_DIR/bare" <<'BARE'
#!/usr/bin/env bash
# Overlay, ISO, define and start with the tools themselves.
set -euo pipefail
name=$1 uuid=$(cat /proc/sys/kernel/random/uuid)
mac=52:54:01:${uuid:0:2}:${uuid:2:2}:${uuid:4:2}
qemu-img create -q -f qcow2 -F qcow2 -b "$BASE" "$POOL_DIR/$name.qcow2" 8G
genisoimage -quiet -volid cidata -joliet -rational-rock -output "$POOL_DIR/$name.iso" "$BENCH_DIR/seed"
sed -e "s|<name>template</name>|<name>$name</name>|" \
    -e "s|<uuid>.*</uuid>|<uuid>$uuid</uuid>|" -e "s|<mac address='[^']*'/>|<mac address='$mac'/>|" \
    -e "s|$POOL_DIR/template[^']*\.seed\.iso|$POOL_DIR/$name.iso|" \
    -e "s|$POOL_DIR/template[^']*\.qcow2|$POOL_DIR/$name.qcow2|" \
    -e "s|$POOL_DIR/template[^']*\.log|$POOL_DIR/$name.log|" \
    -e '/<serial>.*<\/serial>/d' "$BENCH_DIR/template.xml" > "$BENCH_DIR/$name.xml"
virsh -q -c "$REAL_URI" define "$BENCH_DIR/$name.xml" > /dev/null
virsh -q -c "$REAL_URI" autostart "$name" > /dev/null
virsh -q -c "$REAL_URI" start "$name" > /dev/null
BARE
    cat > "$BENCH_DIR/remove" <<'REMOVE'
#!/usr/bin/env bash
# Remove every domain of the benchmark, however it was made.
names() { virsh -q -c "$REAL_URI" list --all --name | grep -E '^bench-[0-9]+$'; }
[ -n "$(names)" ] || exit 0
# By label, and never --all: that is everybody's on this libvirtd.
"$KVMCTL" -q delete instances -l "$REAL_LABEL" --force -y > /dev/null
for name in $(names); do
    virsh -q -c "$REAL_URI" destroy "$name" > /dev/null 2>&1
    virsh -q -c "$REAL_URI" undefine "$name" > /dev/null 2>&1
done
rm -f "$POOL_DIR"/bench-*
sync
REMOVE
    chmod +x "$BENCH_DIR/bare" "$BENCH_DIR/remove"
    export KVMCTL REAL_LABEL
}

real_end() {
    [[ -n ${REAL_MADE:-} ]] || return 0
    "$KVMCTL" -q delete instances -l "$REAL_LABEL" --force -y > /dev/null
    [[ ! -x $BENCH_DIR/remove ]] || "$BENCH_DIR/remove"
    virsh -q -c "$REAL_URI" pool-info "$REAL" > /dev/null 2>&1 || return 0
    "$KVMCTL" -q delete image bench > /dev/null
    virsh -q -c "$REAL_URI" pool-destroy "$REAL" > /dev/null
    virsh -q -c "$REAL_URI" pool-undefine "$REAL" > /dev/null
    virsh -q -c "$REAL_URI" net-destroy "$REAL" > /dev/null
    virsh -q -c "$REAL_URI" net-undefine "$REAL" > /dev/null
    rm -rf --one-file-system "$POOL_DIR"
}
