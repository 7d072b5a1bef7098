# shellcheck shell=bash
# A bootable disk image out of a file tree, for the two image builders.
#
# Source it; needs root. The disk has one MBR partition with ext4 and extlinux,
# so it boots under BIOS and can be grown in the guest.
#
# Nothing outlives a killed build: the work goes on in a private mount
# namespace, where the kernel unmounts and frees the loop device when the last
# process ends; what is left is a directory, which the next build removes.

BOOTDISK_OFFSET=$((1024 * 1024))

# Run the calling script again in a mount namespace of its own.
# Usage, first thing in the script: bootdisk_isolate "$0" "$@"
bootdisk_isolate() {
    [[ ${BOOTDISK_ISOLATED:-} == "$$" ]] && return 0
    if [[ $EUID -ne 0 ]]; then
        echo "error: $(basename "$1") needs root: it mounts the image that it builds" >&2
        exit 1
    fi
    # exec keeps the process id, so the variable cannot be one inherited from
    # some other script that called this one.
    BOOTDISK_ISOLATED=$$ exec unshare --mount --propagation private bash "$@"
}

# Find the first sector's boot code, which distributions keep in various places.
bootdisk_mbr() {
    local file
    for file in /usr/lib/syslinux/mbr/mbr.bin /usr/lib/EXTLINUX/mbr.bin \
        /usr/share/syslinux/mbr.bin; do
        [[ -r $file ]] && { echo "$file"; return 0; }
    done
    echo "error: mbr.bin not found: install syslinux-common (apt) or syslinux (dnf)" >&2
    return 1
}

# A build directory beside the result, so that the last step is a rename.
# Usage: dir=$(bootdisk_workdir OUT)
bootdisk_workdir() {
    local out=$1 parent stale pid
    parent=$(dirname "$out")
    mkdir -p "$parent"
    for stale in "$parent/.$(basename "$out")".build.*; do
        [[ -d $stale ]] || continue
        pid=${stale##*.}
        [[ -d /proc/$pid ]] || rm -rf --one-file-system "$stale"
    done
    stale="$parent/.$(basename "$out").build.$$"
    mkdir -p "$stale/mnt"
    echo "$stale"
}

# Make WORK/disk.raw and mount its file system at WORK/mnt.
# Usage: bootdisk_open WORK SIZE_MIB LABEL
bootdisk_open() {
    local work=$1 size_mib=$2 label=$3 raw=$1/disk.raw
    truncate -s "${size_mib}M" "$raw"
    printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk --quiet "$raw"
    dd if="$(bootdisk_mbr)" of="$raw" bs=440 count=1 conv=notrunc status=none
    # extlinux reads neither 64bit nor metadata_csum; the offset stands in for
    # a partition device, which a kernel without partition scanning lacks.
    mkfs.ext4 -q -F -L "$label" -m 1 -O '^64bit,^metadata_csum' \
        -E "offset=$BOOTDISK_OFFSET,lazy_itable_init=0" "$raw" "$(((size_mib - 1) * 1024))k"
    mount -o "loop,offset=$BOOTDISK_OFFSET,sizelimit=$(((size_mib - 1) * 1024 * 1024))" \
        "$raw" "$work/mnt"
}

bootdisk_uuid() {
    blkid -p -O "$BOOTDISK_OFFSET" -s UUID -o value "$1/disk.raw"
}

# Install the boot loader. Usage: bootdisk_loader WORK KERNEL INITRD 'ARGUMENTS'
# KERNEL and INITRD may be symbolic links, so a kernel upgrade needs no rewrite.
bootdisk_loader() {
    local work=$1 kernel=$2 initrd=$3 arguments=$4 dir=$1/mnt/boot/extlinux
    mkdir -p "$dir"
    cat > "$dir/extlinux.conf" <<CONF
SERIAL 0 115200
PROMPT 0
TIMEOUT 1
DEFAULT linux
LABEL linux
  LINUX $kernel
  INITRD $initrd
  APPEND $arguments
CONF
    # Its chatter ("/… is device /dev/loop0") is of use only when it fails.
    extlinux --install "$dir" > "$work/extlinux.log" 2>&1 || {
        cat "$work/extlinux.log" >&2
        return 1
    }
}

# Unmount, convert to qcow2 and put into place in one step.
# Usage: bootdisk_close WORK OUT
bootdisk_close() {
    local work=$1 out=$2
    if mountpoint -q "$work/mnt"; then
        umount "$work/mnt"
    fi
    qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd "$work/disk.raw" "$work/out.qcow2"
    mv -f "$work/out.qcow2" "$out"
}

# For a trap on EXIT. Usage: bootdisk_cleanup WORK
bootdisk_cleanup() {
    local work=$1
    mountpoint -q "$work/mnt" && umount --lazy "$work/mnt"
    rm -rf --one-file-system "$work"
}
