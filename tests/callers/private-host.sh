#!/bin/bash
# A host of its own for a test: namespaces with private /etc/libvirt, /var/lib, /run, users and
# network, and in them a libvirtd whose socket only root and the group libvirt may use, as on a
# distribution without polkit. Everything in it dies with this process.
#
#   SOCKET=group|polkit IMAGES=FOLDER private-host.sh DIR
#
# DIR is empty, absolute and world-searchable; DIR/ready appears when the host is up, and IMAGES is
# DIR/images in it. The host ends when its stdin does.
set -eu
dir=$1

enter() {
    mkdir -p "$dir"/{etc,varlib/libvirt,log,cache,run,home/root,images}
    cp -a /etc/libvirt "$dir/etc/"
    # Nothing of the host's own domains, networks and pools.
    rm -rf "$dir"/etc/libvirt/qemu "$dir"/etc/libvirt/storage "$dir"/etc/libvirt/secrets
    local mode=0770 auth=none
    if [ "$SOCKET" = polkit ]; then
        mode=0777 auth=polkit
    fi
    cat > "$dir/etc/libvirt/libvirtd.conf" <<CONF
unix_sock_group = "libvirt"
unix_sock_ro_perms = "$mode"
unix_sock_rw_perms = "$mode"
auth_unix_ro = "$auth"
auth_unix_rw = "$auth"
listen_tls = 0
listen_tcp = 1
listen_addr = "127.0.0.1"
auth_tcp = "none"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
CONF
    cat > "$dir/etc/libvirt/qemu.conf" <<CONF
security_driver = "none"
cgroup_controllers = []
namespaces = []
CONF
    grep -v '^libvirt:' /etc/group > "$dir/etc/group"
    echo "libvirt:x:$(getent group libvirt | cut -d: -f3):kt-member" >> "$dir/etc/group"
    echo "kt-member:x:64101:" >> "$dir/etc/group"
    echo "kt-alone:x:64102:" >> "$dir/etc/group"
    cp /etc/passwd "$dir/etc/passwd"
    local user
    for user in kt-member:64101 kt-alone:64102; do
        local name=${user%:*} id=${user#*:}
        echo "$name:x:$id:$id::$dir/home/$name:/bin/bash" >> "$dir/etc/passwd"
        mkdir -p "$dir/home/$name" "$dir/run/user/$id"
        chown "$id:$id" "$dir/home/$name" "$dir/run/user/$id"
        chmod 0700 "$dir/home/$name" "$dir/run/user/$id"
    done
    # What QEMU can do is known already, and asking it takes a core for seconds.
    if [ -d /var/cache/libvirt/qemu/capabilities ]; then
        mkdir -p "$dir/cache/libvirt/qemu"
        cp -a /var/cache/libvirt/qemu/capabilities "$dir/cache/libvirt/qemu/"
    fi
    mount --bind "$IMAGES" "$dir/images"
    mount --bind "$dir/etc/libvirt" /etc/libvirt
    mount --bind "$dir/etc/passwd" /etc/passwd
    mount --bind "$dir/etc/group" /etc/group
    mount --bind "$dir/varlib" /var/lib
    mount --bind "$dir/log" /var/log
    mount --bind "$dir/cache" /var/cache
    mount --bind "$dir/run" /run
    mkdir -p /var/lib/libvirt/{qemu,dnsmasq,boot} /var/log/libvirt/qemu /var/cache/libvirt/qemu
    chown libvirt-qemu: /var/lib/libvirt/qemu /var/cache/libvirt/qemu
    ip link set lo up
    hostname kt-host
    virtlogd -d < /dev/null
    libvirtd --listen --pid-file /run/libvirtd.pid < /dev/null > "$dir/log/libvirtd.log" 2>&1 &
    answer < /dev/null &
    # Whatever hangs, the host ends with its stdin.
    cat > /dev/null
}

answer() {
    until timeout 5 virsh -c qemu:///system uri > /dev/null 2>&1; do
        sleep 0.1
    done
    touch "$dir/ready"
}

if [ "${2-}" = inside ]; then
    enter
else
    unshare --mount --net --uts --pid --fork --kill-child --mount-proc \
        --propagation private "$0" "$dir" inside
fi
