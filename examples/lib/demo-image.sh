#!/usr/bin/env bash
# Build a Debian (or Ubuntu) cloud image from the package archive.
#
#   demo-image.sh OUT.qcow2 [--no-agent]
#
# For hosts that reach a package archive but no image server, and for tests.
# The guest is an ordinary one: systemd, cloud-init (NoCloud), netplan, sshd,
# and the QEMU guest agent unless --no-agent is given.
#
# The packages come from the archive that the host itself is set up with. The
# installed tree is kept as a tar file in $KVMCTL_CACHE (default: beside OUT);
# remove that file to get newer packages.
#
# KVMCTL_DEMO_CMDLINE adds kernel arguments.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SELF=$HERE/$(basename "${BASH_SOURCE[0]}")
# shellcheck source=examples/lib/bootdisk.sh
. "$HERE/bootdisk.sh"

SIZE_MIB=2048

say() { echo "demo-image: $*" >&2; }
die() { echo "error: demo-image: $*" >&2; exit 1; }

# Name and release of the guest: the host's own if it is Debian or Ubuntu.
choose_suite() {
    # shellcheck source=/dev/null
    . /etc/os-release
    case ${ID:-} in
        debian | ubuntu) DISTRO=$ID SUITE=${VERSION_CODENAME:-} ;;
        *) DISTRO=debian SUITE=bookworm ;;
    esac
    [[ -n $SUITE ]] || die "this $DISTRO has no release code name in /etc/os-release"
}

packages() {
    local list=(
        systemd-sysv dbus udev libpam-systemd libnss-myhostname
        initramfs-tools lz4 e2fsprogs fdisk kmod
        cloud-init cloud-guest-utils netplan.io
        openssh-server sudo iproute2 iputils-ping ca-certificates
        busybox curl less procps qemu-guest-agent
    )
    case $DISTRO in
        debian) list+=(linux-image-cloud-"$(dpkg_arch)") ;;
        ubuntu) list+=(linux-image-virtual) ;;
    esac
    # Debian 12 split it from systemd; Ubuntu 22.04 has not.
    [[ $SUITE == jammy ]] || list+=(systemd-resolved)
    printf '%s\n' "${list[@]}"
}

dpkg_arch() {
    dpkg --print-architecture 2>/dev/null || echo amd64
}

# The host's own archives for this suite, as sources.list lines. Nothing for a
# host of another distribution: mmdebstrap then takes the suite's home archive.
host_sources() {
    command -v apt-get >/dev/null || return 0
    local keyring=/usr/share/keyrings/$DISTRO-archive-keyring.gpg signed=''
    [[ -r $keyring ]] && signed="[signed-by=$keyring] "
    # shellcheck disable=SC2016 # apt's variables, not the shell's
    # The origin keeps out third-party archives that use Debian's code names.
    apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(SITE) $(CODENAME) $(COMPONENT)' |
        awk -v distro="$DISTRO" -v suite="$SUITE" -v signed="$signed" '
            $1 != "Packages" || tolower($2) != distro || NF != 5 { next }
            $4 != suite && $4 != suite "-updates" && $4 != suite "-security" { next }
            !seen[$3 $4 $5]++ { print "deb " signed $3, $4, $5 }'
}

# ---- inside the tree --------------------------------------------------------

# Before the kernel is installed, so that its first initramfs is already right.
#
# The short module list is about boot time: with the default (MODULES=most) the
# archive is several times as large, and unpacking it is slow under emulation.
# sr_mod and isofs are in it so that the seed is there before cloud-init looks.
tree_prepare() {
    local root=$1
    mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/etc/initramfs-tools/hooks"
    cat > "$root/etc/initramfs-tools/conf.d/virtual-machine" <<'CONF'
MODULES=list
COMPRESS=lz4
CONF
    cat > "$root/etc/initramfs-tools/hooks/virtual-machine" <<'HOOK'
#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk virtio_scsi sd_mod sr_mod isofs ext4 crc32c virtio_net virtio_rng
HOOK
    chmod 755 "$root/etc/initramfs-tools/hooks/virtual-machine"
}

tree_customize() {
    local root=$1
    tree_cloud_init "$root"
    tree_services "$root"
    tree_compile "$root"
    tree_strip "$root"
}

tree_cloud_init() {
    local root=$1
    # Three kinds of host key cost half a minute under emulation, and DSA and
    # RSA are of no use to a client of this age. The sources list is the one
    # that the image was built from and must not become the distribution's.
    cat > "$root/etc/cloud/cloud.cfg.d/90_demo_image.cfg" <<'CONF'
datasource_list: [NoCloud, None]
ssh_genkeytypes: [ed25519, ecdsa]
# The one locale that is there without locale-gen.
locale: C.UTF-8
# There is no GRUB whose package would need to be told its disk.
grub_dpkg:
  enabled: false
apt:
  preserve_sources_list: true
CONF
    echo 'LANG=C.UTF-8' > "$root/etc/default/locale"
}

tree_services() {
    local root=$1 unit
    # Housekeeping that would run in the first minutes of a short life.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer \
        motd-news.timer systemd-timesyncd.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service \
        serial-getty@ttyS0.service ssh.service >/dev/null 2>&1
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
}

# Netplan's modules are not under dist-packages, so nothing has compiled them,
# and the first boot would: two seconds under emulation.
tree_compile() {
    local root=$1
    [[ ! -d $root/usr/share/netplan ]] || chroot "$root" python3 -m compileall -q /usr/share/netplan
}

# What must differ between two guests, and what only takes space.
tree_strip() {
    local root=$1
    rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
    : > "$root/etc/machine-id"
    echo debian > "$root/etc/hostname"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
    rm -rf "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/log/*
    mkdir -p "$root/var/log/journal"
    rm -rf "$root/var/lib/cloud"
}

# ---- the two stages ---------------------------------------------------------

# The file name carries everything the tree depends on, so that a changed
# package list or a changed script never meets an old tree.
tree_name() {
    local key
    key=$({ packages; host_sources
        declare -f tree_prepare tree_customize tree_cloud_init tree_services tree_compile \
            tree_strip tree_build
    } | sha256sum | cut -c1-12)
    echo "$DISTRO-$SUITE-$key.tar"
}

tree_build() {
    local tar=$1 mirror=() sources work
    sources=$(host_sources)
    [[ -z $sources ]] || mirror=(-)
    # Not in the cache, which may lie in a home directory where apt's sandbox
    # user may not look.
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/demo-image.XXXXXX")
    chmod 755 "$work"
    echo "$work" > "$tar.work"
    TMPDIR=$work mmdebstrap --quiet --mode=root --variant=minbase \
        --include="$(packages | paste -sd,)" \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --essential-hook="'$SELF' --tree-prepare \"\$1\"" \
        --customize-hook="'$SELF' --tree-customize \"\$1\"" \
        --format=tar "$SUITE" "$tar.part" "${mirror[@]}" <<< "$sources"
    mv -f "$tar.part" "$tar"
    tree_forget "$tar"
}

# Take away what a build leaves behind, whether it ended well or was killed.
tree_forget() {
    local tar=$1
    [[ -s $tar.work ]] || return 0
    rm -rf --one-file-system "$(cat "$tar.work")" "$tar.work" "$tar.part"
}

# Print the path of the tree's tar file, building it first if there is none.
tree_cached() {
    local cache=$1 tar
    mkdir -p "$cache"
    tar=$cache/$(tree_name)
    # Two builds at once share one tree. What a killed build started keeps the
    # lock until it has ended, so it cannot write into the next one's file.
    exec 9> "$tar.lock"
    flock 9
    if [[ ! -s $tar ]]; then
        say "installing $DISTRO $SUITE into $tar (about a minute)"
        tree_forget "$tar"
        tree_build "$tar" >&2
    fi
    exec 9>&-
    echo "$tar"
}

build_disk() {
    local tar=$1 out=$2 agent=$3 work uuid arguments
    work=$(bootdisk_workdir "$out")
    # shellcheck disable=SC2064 # the directory of now, not of then
    trap "bootdisk_cleanup '$work'" EXIT
    bootdisk_open "$work" "$SIZE_MIB" rootfs
    say "unpacking"
    tar -C "$work/mnt" -xf "$tar" --numeric-owner --xattrs --xattrs-include='*'
    if [[ $agent == no ]]; then
        chroot "$work/mnt" dpkg --purge qemu-guest-agent >/dev/null 2>&1
    fi
    uuid=$(bootdisk_uuid "$work")
    echo "UUID=$uuid / ext4 errors=remount-ro 0 1" > "$work/mnt/etc/fstab"
    # An emulated CPU on a busy host ticks too unevenly for the kernel's check of the timer, and
    # then it panics.
    arguments="root=UUID=$uuid ro console=tty0 console=ttyS0,115200 no_timer_check"
    bootdisk_loader "$work" /vmlinuz /initrd.img "$arguments${KVMCTL_DEMO_CMDLINE:+ $KVMCTL_DEMO_CMDLINE}"
    say "writing $out"
    bootdisk_close "$work" "$out"
}

main() {
    local out='' agent=yes argument
    for argument in "$@"; do
        case $argument in
            --no-agent) agent=no ;;
            -*) die "unknown option $argument" ;;
            *) [[ -z $out ]] || die "one output file only"; out=$argument ;;
        esac
    done
    [[ -n $out ]] || die "usage: $(basename "$0") OUT.qcow2 [--no-agent]"
    choose_suite
    build_disk "$(tree_cached "${KVMCTL_CACHE:-$(dirname "$out")}")" "$out" "$agent"
}

case ${1:-} in
    # mmdebstrap calls this script back at two points of the installation.
    --tree-prepare) tree_prepare "$2" ;;
    --tree-customize) tree_customize "$2" ;;
    *)
        bootdisk_isolate "$SELF" "$@"
        main "$@"
        ;;
esac
