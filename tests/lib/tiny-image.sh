#!/usr/bin/env bash
# Build the small test guest: a kernel and busybox, up in seconds with 128 MiB.
#
#   tiny-image.sh OUT.qcow2            boots under BIOS
#   tiny-image.sh OUT.qcow2 --uefi     boots under UEFI, through its shell
#
# It is for tests of networks, disks and balancers, which need many guests and
# no cloud-init (there is none in it). What it does:
#   - DHCP on every NIC, also on one that is plugged in later; when the first
#     has its address, "tiny ready ADDRESS mac=MAC hostname=NAME" on ttyS0
#   - HTTP on port 80: / gives hostname, MAC and address; /cgi-bin/info also
#     the client's address, the disks and the interfaces, as they are now
#   - a shell on ttyS0
#   - power-off when the ACPI power button is pressed
#
# The kernel package comes from the host's own archive, or is the host's kernel
# where there is no apt. It is kept in $KVMCTL_CACHE (default: beside OUT).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SELF=$HERE/$(basename "${BASH_SOURCE[0]}")
# shellcheck source=examples/lib/bootdisk.sh
. "$HERE/../../examples/lib/bootdisk.sh"

SIZE_MIB=48
MODULES=(virtio_pci virtio_blk virtio_scsi sd_mod sr_mod virtio_net virtio_balloon
    virtio_rng virtio_console button evdev pvpanic pvpanic_pci isofs)

die() { echo "error: tiny-image: $*" >&2; exit 1; }

# ---- kernel -----------------------------------------------------------------

kernel_packages() {
    local meta
    for meta in "linux-image-cloud-$(dpkg --print-architecture)" linux-image-virtual; do
        apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
            --no-breaks --no-replaces --no-enhances "$meta" 2>/dev/null |
            grep -E '^linux-(image|modules)-[0-9]' | grep -v unsigned | sort -u && return 0
    done
    die "no kernel package for virtual machines found: run apt-get update, then try again"
}

# Unpack the kernel into DIR (boot/, lib/modules/).
kernel_unpack() {
    local dir=$1 packages deb
    if ! command -v apt-get >/dev/null; then
        mkdir -p "$dir/boot" "$dir/lib/modules"
        cp -a "/lib/modules/$(uname -r)" "$dir/lib/modules/"
        cp "/lib/modules/$(uname -r)/vmlinuz" "$dir/boot/vmlinuz-$(uname -r)"
        return 0
    fi
    mapfile -t packages < <(kernel_packages)
    mkdir -p "$dir/debs"
    # As root, for the sandbox user may not write here; and with fresh lists
    # should the archive have moved on since the last update.
    (cd "$dir/debs" &&
        { apt-get download -q -o APT::Sandbox::User=root "${packages[@]}" ||
            { apt-get update -q && apt-get download -q -o APT::Sandbox::User=root "${packages[@]}"; }
        }) > "$dir/download.log" 2>&1 || { cat "$dir/download.log" >&2; die "cannot download ${packages[*]}"; }
    for deb in "$dir"/debs/*.deb; do
        dpkg-deb -x "$deb" "$dir"
    done
    # Where /usr is merged the modules may lie in /usr/lib.
    [[ -d $dir/lib/modules ]] || { mkdir -p "$dir/lib" && mv "$dir/usr/lib/modules" "$dir/lib/"; }
    rm -rf "${dir:?}/debs" "${dir:?}/usr"
}

# Print the directory with the kernel, unpacking it first if it is not there.
kernel_cached() {
    local dir=$1/tiny-kernel
    mkdir -p "$1"
    exec 9> "$dir.lock"
    flock 9
    if [[ ! -d $dir ]]; then
        rm -rf "$dir.part"
        mkdir "$dir.part"
        kernel_unpack "$dir.part"
        mv "$dir.part" "$dir"
    fi
    exec 9>&-
    echo "$dir"
}

# ---- initramfs --------------------------------------------------------------

# Copy the modules, and write their order of loading to /modules: insmod from a
# list is quicker than modprobe, and needs no modules.dep in the guest.
initramfs_modules() {
    local kernel=$1 root=$2 version module file
    version=$(basename "$kernel"/lib/modules/*)
    [[ -s $kernel/lib/modules/$version/modules.dep ]] || depmod -b "$kernel" "$version"
    mkdir -p "$root/lib"
    for module in "${MODULES[@]}"; do
        # Built in, or not in this kernel: nothing to copy.
        modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null || true
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        unpack_module "$file" > "$root/lib/$(basename "$file" | sed 's/\.ko.*/.ko/')"
        echo "/lib/$(basename "$file" | sed 's/\.ko.*/.ko/')" >> "$root/modules"
    done
    [[ -s $root/modules ]] || die "no modules found in $kernel"
}

unpack_module() {
    case $1 in
        *.xz) xz -dc "$1" ;;
        *.zst) zstd -dcq "$1" ;;
        *.gz) gzip -dc "$1" ;;
        *) cat "$1" ;;
    esac
}

# busybox that needs no libraries.
static_busybox() {
    local file
    for file in /bin/busybox /usr/bin/busybox /sbin/busybox /usr/sbin/busybox; do
        [[ -x $file ]] && ! ldd "$file" >/dev/null 2>&1 && { echo "$file"; return 0; }
    done
    die "no static busybox found: install busybox-static (apt) or busybox (dnf)"
}

initramfs_init() {
    cat > "$1/init" <<'INIT'
#!/bin/sh
export PATH=/bin PS1='tiny# ' HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
while read -r module; do insmod "$module" 2>/dev/null; done < /modules
hostname tiny
ip link set lo up
httpd -h /www

# One reader for each power button; evdev gives whole events only.
for name in /sys/class/input/event*/device/name; do
    [ "$(cat "$name")" = 'Power Button' ] || continue
    event=${name#/sys/class/input/}
    (dd if="/dev/input/${event%%/*}" of=/dev/null bs=24 count=1 2>/dev/null
        echo 'tiny: power button' > /dev/console; sync; poweroff -f) &
done

# There is no udev to tell of a NIC that comes or goes, so look. The file of a
# NIC holds the process id of its DHCP client.
(while :; do
    for nic in /sys/class/net/eth*; do
        nic=${nic##*/}
        [ -d "/sys/class/net/$nic" ] && [ ! -e "/run/dhcp.$nic" ] || continue
        ip link set "$nic" up
        udhcpc -f -i "$nic" -t 3 -T 1 -A 1 -O hostname >/dev/null 2>&1 &
        echo $! > "/run/dhcp.$nic"
    done
    for file in /run/dhcp.*; do
        [ -d "/sys/class/net/${file#/run/dhcp.}" ] || kill "$(cat "$file")" 2>/dev/null
        kill -0 "$(cat "$file")" 2>/dev/null || rm -f "$file"
    done
    sleep 1
done) &

while :; do setsid cttyhack sh; done
INIT
    chmod 755 "$1/init"
}

initramfs_dhcp() {
    mkdir -p "$1/etc/udhcpc"
    # The place where Debian's busybox looks for it; others look in
    # /usr/share/udhcpc.
    cat > "$1/etc/udhcpc/default.script" <<'DHCP'
#!/bin/sh
case $1 in
    deconfig) ip addr flush dev "$interface" ;;
    bound | renew)
        ip addr replace "$ip/${mask:-24}" dev "$interface"
        if [ -n "$router" ] && ! ip route | grep -q ^default; then
            ip route add default via "${router%% *}" dev "$interface"
        fi
        [ -e /run/ready ] && exit 0
        mac=$(cat "/sys/class/net/$interface/address")
        [ -z "$hostname" ] || hostname "$hostname"
        printf 'hostname=%s\nmac=%s\naddress=%s\n' "$(hostname)" "$mac" "$ip" > /www/index.html
        : > /run/ready
        echo "tiny ready $ip mac=$mac hostname=$(hostname)" > /dev/console
        ;;
esac
DHCP
    chmod 755 "$1/etc/udhcpc/default.script"
    mkdir -p "$1/usr/share"
    ln -s /etc/udhcpc "$1/usr/share/udhcpc"
}

initramfs_www() {
    mkdir -p "$1/www/cgi-bin"
    echo 'no address yet' > "$1/www/index.html"
    cat > "$1/www/cgi-bin/info" <<'CGI'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
cat /www/index.html
echo "client=$REMOTE_ADDR"
awk 'NR > 2 { print "disk=" $4, $3 * 1024 }' /proc/partitions
for serial in /sys/block/vd*/serial; do
    disk=${serial%/serial}
    echo "serial=${disk##*/} $(cat "$serial")"
done
awk '$1 == "MemTotal:" { print "memory=" $2 * 1024 }' /proc/meminfo
echo "cpus=$(grep -c ^processor /proc/cpuinfo)"
ip -o -4 addr | awk '$2 != "lo" { print "nic=" $2, $4 }'
CGI
    chmod 755 "$1/www/cgi-bin/info"
}

# Usage: initramfs_build KERNEL_DIR WORK → WORK/initrd
initramfs_build() {
    local kernel=$1 work=$2 root=$2/initramfs applet
    mkdir -p "$root"/{bin,dev,proc,sys,run,tmp}
    install -m 755 "$(static_busybox)" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [[ $applet == busybox ]] || ln -sf busybox "$root/bin/$applet"
    done
    initramfs_modules "$kernel" "$root"
    initramfs_init "$root"
    initramfs_dhcp "$root"
    initramfs_www "$root"
    (cd "$root" && find . | cpio --quiet -o -H newc | gzip -9) > "$work/initrd"
}

# A disk with a FAT partition on which the firmware's shell finds what to run.
# Usage: uefi_disk KERNEL_DIR WORK
uefi_disk() {
    local kernel=$1 work=$2 raw=$2/disk.raw fat=$2/disk.raw@@$BOOTDISK_OFFSET
    truncate -s "${SIZE_MIB}M" "$raw"
    printf 'label: dos\nstart=2048, type=ef, bootable\n' | sfdisk --quiet "$raw"
    mkfs.vfat -F 16 -n TINY --offset 2048 "$raw" "$(((SIZE_MIB - 1) * 1024))" > "$work/vfat.log"
    printf 'fs0:\r\nvmlinuz.efi initrd=\\initrd.img %s\r\n' "$ARGUMENTS" > "$work/startup.nsh"
    mcopy -i "$fat" "$kernel"/boot/vmlinuz-* ::vmlinuz.efi
    mcopy -i "$fat" "$work/initrd" ::initrd.img
    mcopy -i "$fat" "$work/startup.nsh" ::startup.nsh
}

# A disk with extlinux. Usage: bios_disk KERNEL_DIR WORK
bios_disk() {
    local kernel=$1 work=$2
    bootdisk_open "$work" "$SIZE_MIB" tiny
    cp "$kernel"/boot/vmlinuz-* "$work/mnt/vmlinuz"
    cp "$work/initrd" "$work/mnt/initrd.img"
    bootdisk_loader "$work" /vmlinuz /initrd.img "$ARGUMENTS"
}

ARGUMENTS="console=tty0 console=ttyS0,115200 no_timer_check rdinit=/init"

main() {
    local disk=bios_disk
    [[ ${2:-} != --uefi ]] || { disk=uefi_disk; set -- "$1"; }
    [[ $# -eq 1 && $1 != -* ]] || die "usage: $(basename "$0") OUT.qcow2 [--uefi]"
    local out=$1 kernel work
    kernel=$(kernel_cached "${KVMCTL_CACHE:-$(dirname "$out")}")
    work=$(bootdisk_workdir "$out")
    # shellcheck disable=SC2064 # the directory of now, not of then
    trap "bootdisk_cleanup '$work'" EXIT
    initramfs_build "$kernel" "$work"
    "$disk" "$kernel" "$work"
    bootdisk_close "$work" "$out"
}

bootdisk_isolate "$SELF" "$@"
main "$@"
