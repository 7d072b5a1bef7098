#!/bin/sh
# Tells the host how cloud-init stands, one line of JSON a second while somebody listens.
#
# A write to the port blocks while nobody has it open on the host, and costs nothing. So each
# round starts with a greeting: when that is through, somebody is there, and what is worked out
# then is fresh.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 077
instance=$1
state=/var/lib/kvmctl/$instance
run=/run/kvmctl
cloud=/run/cloud-init
wanted=org.kvmctl.ready.0
read -r boot </proc/sys/kernel/random/boot_id

find_port() {
    port=/dev/virtio-ports/$wanted
    [ ! -c "$port" ] || return 0
    for name in /sys/class/virtio-ports/*/name; do
        { read -r this <"$name"; } 2>/dev/null || continue
        port=${name%/name}
        port=/dev/${port##*/}
        [ "$this" != "$wanted" ] || [ ! -c "$port" ] || return 0
    done
    return 1
}

b64() {
    base64 | tr -d '\n'
}

# What cloud-init warned of since this boot began; first lines only, the last twenty.
warnings() {
    sed -n "/running 'init-local'/{s/.*//;h;d;};/\[\(WARNING\|ERROR\|CRITICAL\)\]: /H;\${x;p;}" \
        /var/log/cloud-init.log 2>/dev/null | tail -n 20 | cut -c 1-500
}

addresses() {
    for dev in /sys/class/net/*; do
        [ "${dev##*/}" = lo ] && continue
        read -r mac <"$dev/address" && printf 'link %s %s\n' "${dev##*/}" "$mac"
    done 2>/dev/null | head -n 32
    ip -o addr show scope global 2>/dev/null | head -n 64 | cut -c 1-200
}

file64() {
    [ ! -s "$1" ] || head -c 4000 "$1" | b64
}

# The costly parts are done again only when cloud-init has moved on.
collect() {
    status=
    [ ! -s "$cloud/status.json" ] || status=$(tr -d '\n' <"$cloud/status.json")
    ended=false
    [ ! -e "$cloud/result.json" ] || ended=true
    sealed=false
    [ ! -e "$state/sealed" ] || sealed=true
    if [ "$status$ended" != "$seen" ] || [ "$((round % 15))" -eq 0 ]; then
        seen=$status$ended
        log=$(warnings | b64)
        net=$(addresses | b64)
    fi
    [ "${#status}" -le 40000 ] || status='{"oversize":true}'
    read -r uptime _ </proc/uptime
}

report() {
    printf '{"kvmctl":1,"boot_id":"%s","instance":"%s","round":%d,"uptime":%s,"ended":%s,"sealed":%s,"run":"%s","problems":"%s","log":"%s","net":"%s","status":%s}\n' \
        "$boot" "$instance" "$round" "$uptime" "$ended" "$sealed" \
        "$(file64 "$state/run")" "$(file64 "$run/problems")" "$log" "$net" "${status:-null}"
}

speak() {
    while printf '{"kvmctl":1,"hello":"%s"}\n' "$boot"; do
        round=$((round + 1))
        collect
        report || return
        sleep 1
    done
}

round=0
seen=
tries=0
while :; do
    if find_port; then
        tries=0
        { speak >"$port"; } 2>/dev/null
    elif [ "$tries" -eq 5 ]; then
        modprobe virtio_console 2>/dev/null
    fi
    tries=$((tries + 1))
    # A guest without the port, as one that was adopted: look now and then.
    if [ "$tries" -gt 60 ]; then sleep 60; else sleep 1; fi
done
