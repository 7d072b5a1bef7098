# $1 serial, $2 mount point, $3 file system for a blank volume, $4 options. The name vdX is nobody's
# promise: the volume is known by its serial.
disk=/dev/disk/by-id/virtio-$1
tries=0
until [ -b "$disk" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
        echo "the volume does not show up as $disk" >&2
        exit 1
    fi
    sleep 1
done
fs=$(blkid -p -s TYPE -o value "$disk")
found=$?
if [ "$found" -eq 2 ]; then
    # Nothing that blkid knows; only zeroes are nothing at all.
    if ! head -c 1048576 "$disk" | tr -d '\000' | cmp -s - /dev/null; then
        echo "$disk holds something that is no file system, and is not formatted" >&2
        exit 1
    fi
    fs=$3
    "mkfs.$fs" -q "$disk" || exit 1
elif [ -z "$fs" ]; then
    echo "$disk holds something else than one file system, and is not formatted" >&2
    exit 1
fi
mkdir -p "$2" || exit 1
if ! grep -q "^$disk " /etc/fstab; then
    echo "$disk $2 $fs $4 0 2" >>/etc/fstab || exit 1
fi
mountpoint -q "$2" || mount "$2"
