#!/usr/bin/env bash
# Run a command on a private host: own network, mounts, processes and libvirtd.
#
#   private-host.sh DIR COMMAND…
#
# libvirt's directories, /run and kvmctl's store are DIR's own there, and empty
# at first. Nothing that happens inside is seen outside, and when the command
# ends, its daemons and guests end with it.
set -euo pipefail

inside() {
    local dir=$1
    shift
    isolate "$dir"
    configure
    start virtlogd
    start libvirtd
    answer
    local status=0
    # The tests refuse to run on a host whose guests are somebody's.
    KVMCTL_PRIVATE_HOST=1 "$@" || status=$?
    [[ $status -eq 0 ]] || show_logs
    exit "$status"
}

isolate() {
    local dir=$1 place
    mount --make-rprivate /
    # The old one shows the network interfaces of the machine.
    mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null || true
    for place in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /run /var/lib/kvmctl \
        /var/lib/kvmctl-balancers /var/log/kvmctl; do
        mkdir -p "$place" "$dir$place"
        mount --bind "$dir$place" "$place"
    done
    # Made by swtpm's package, for the user that it runs as; the keys in it are the host's own.
    for place in /var/lib/swtpm-localca /var/log/swtpm; do
        [[ -d $place ]] || continue
        mkdir -p "$dir$place"
        chown --reference="$place" "$dir$place"
        chmod --reference="$place" "$dir$place"
        mount --bind "$dir$place" "$place"
    done
    mkdir -p /run/lock /run/libvirt /var/lib/libvirt/{images,boot,dnsmasq,qemu}
    ip link set lo up
    hostname private
}

configure() {
    mkdir -p /etc/libvirt/{qemu/networks,nwfilter,storage}
    cp "$DIR_OF_NETWORKS/default.xml" /etc/libvirt/qemu/networks/default.xml
    cat > /etc/libvirt/libvirtd.conf <<CONF
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
unix_sock_group = "$SOCKET_GROUP"
unix_sock_rw_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
CONF
    cat > /etc/libvirt/qemu.conf <<'CONF'
security_driver = "none"
cgroup_controllers = []
namespaces = []
CONF
}

DIR_OF_NETWORKS=/usr/share/libvirt/networks
SOCKET_GROUP=$(getent group libvirt >/dev/null && echo libvirt || echo root)

start() {
    "$(command -v "$1" || echo "/usr/sbin/$1")" -d </dev/null >/dev/null 2>&1
}

answer() {
    local tries
    for ((tries = 0; tries < 120; tries++)); do
        if timeout 10 virsh -q -c qemu:///system uri >/dev/null 2>&1; then
            return 0
        fi
        sleep 0.5
    done
    echo "error: the private libvirtd does not answer after 60 seconds" >&2
    show_logs
    exit 1
}

show_logs() {
    echo "--- libvirtd.log (end) ---" >&2
    tail -n 20 /var/log/libvirt/libvirtd.log >&2 || true
    local log
    for log in /var/log/libvirt/qemu/*.log; do
        [[ -s $log ]] || continue
        echo "--- $log (end) ---" >&2
        tail -n 5 "$log" >&2
    done
}

if [[ ${1:-} == --inside ]]; then
    shift
    inside "$@"
fi

[[ $# -ge 2 ]] || { echo "usage: private-host.sh DIR COMMAND…" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
rm -rf "${dir:?}"/{etc,var,run}
# The mount points of what a host need not have. To remove one would unmount it in
# every other private host too: the last one does it.
exec 8< /var/lib
flock -s 8
mkdir -p /var/lib/kvmctl /var/lib/kvmctl-balancers /var/log/kvmctl
status=0
unshare --mount --net --uts --ipc --pid --fork --kill-child --mount-proc \
    "${BASH_SOURCE[0]}" --inside "$dir" "$@" || status=$?
if flock -n -x 8; then
    rmdir /var/lib/kvmctl /var/lib/kvmctl-balancers /var/log/kvmctl 2>/dev/null || true
fi
rm -rf "${dir:?}"/{etc,var,run}
exit "$status"
