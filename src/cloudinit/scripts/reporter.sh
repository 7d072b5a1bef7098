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
cloud_log=/var/log/cloud-init.log
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

# b64 TEXT: in base64, on one line.
b64() {
    [ -z "$1" ] || printf '%s\n' "$1" | base64 -w 0
}

# Where this boot begins in cloud-init's log, which goes on from boot to boot.
log_start() {
    start=$(grep -n -F "running 'init-local'" "$cloud_log" 2>/dev/null | tail -n 1)
    start=${start%%:*}
    : "${start:=1}"
}

# What cloud-init warned of; first lines only, the last twenty. Fixed strings, as the log is long
# and patterns are slow. Usage: warnings FILE-TO-USE
warnings() {
    tail -n "+$start" "$cloud_log" 2>/dev/null |
        grep -F -e '[WARNING]: ' -e '[ERROR]: ' -e '[CRITICAL]: ' >"$1" || return
    tail -n 20 "$1" | cut -c 1-500
}

addresses() {
    for dev in /sys/class/net/*; do
        [ "${dev##*/}" = lo ] && continue
        read -r mac <"$dev/address" && printf 'link %s %s\n' "${dev##*/}" "$mac"
    done 2>/dev/null | head -n 32
    ip -o addr show scope global 2>/dev/null | head -n 64 | cut -c 1-200
}

# Whether anything that is told may have changed. Costs no process, as nothing in a quiet round
# does but the pause: under emulation each is felt. Addresses change by themselves.
changed() {
    [ "$((round % 15))" -ne 1 ] || return 0
    for file in "$cloud/status.json" "$cloud/result.json" "$state/run" "$state/sealed" "$run/problems"; do
        # shellcheck disable=SC3013 # not in POSIX, but in dash, bash and busybox
        [ ! "$file" -nt "$run/stamp" ] || return 0
    done
    return 1
}

collect() {
    : >"$run/stamp"
    before=$status
    status=
    [ ! -s "$cloud/status.json" ] || status=$(tr -d '\n' <"$cloud/status.json")
    if [ "$status" != "$before" ]; then
        log=$(warnings "$run/log")
        log=$(b64 "$log")
    fi
    [ "$((${#status} + ${#first}))" -le 40000 ] || status='{"oversize":true}'
    sealed=false
    [ ! -e "$state/sealed" ] || sealed=true
    if [ -e "$state/mended" ]; then
        startup=
        first=
    elif [ -s "$state/run" ]; then
        startup=$(head -c 4000 "$state/run" | base64 -w 0)
    fi
    [ ! -s "$run/problems" ] || problems=$(head -c 4000 "$run/problems" | base64 -w 0)
    if [ "$ended" = false ] && [ -e "$cloud/result.json" ]; then
        ended=true
        net=
    fi
    if [ -z "$net" ] || [ "$((round % 15))" -eq 1 ]; then
        net=$(addresses | base64 -w 0)
    fi
}

# What the first boot came to is kept: no later boot does its work again, so that one that goes well
# makes nothing better, unless somebody who mended it says so by a file. Lines: boot, cloud-init's
# log, its status.
keep_first() {
    [ ! -e "$state/first" ] || return 0
    [ -s "$state/boot" ] || printf '%s\n' "$boot" >"$state/boot"
    read -r kept <"$state/boot"
    [ "$kept" = "$boot" ] || return 0
    trap 'write_first; exit' TERM
    while [ ! -e "$cloud/result.json" ]; do sleep 3; done
    write_first
}

write_first() {
    log=$(warnings "$run/log.first")
    {
        printf '%s\n' "$boot"
        b64 "$log"
        echo
        tr -d '\n' <"$cloud/status.json"
    } >"$state/first.new"
    [ "$(wc -c <"$state/first.new")" -le 8000 ] || return 0
    mv -f "$state/first.new" "$state/first"
}

# The same as a field of the report, at a later boot.
first_boot() {
    read -r kept && [ "$kept" != "$boot" ] && read -r log || return 0
    was=$(cat)
    printf ',"first":{"log":"%s","status":%s}' "$log" "${was:-null}"
}

report() {
    read -r uptime _ </proc/uptime
    printf '{"kvmctl":1,"boot_id":"%s","instance":"%s","round":%d,"uptime":%s,"ended":%s,"sealed":%s,"run":"%s","problems":"%s","log":"%s","net":"%s","status":%s%s}\n' \
        "$boot" "$instance" "$round" "$uptime" "$ended" "$sealed" \
        "$startup" "$problems" "$log" "$net" "${status:-null}" "$first"
}

speak() {
    while printf '{"kvmctl":1,"hello":"%s"}\n' "$boot"; do
        round=$((round + 1))
        if changed; then collect; fi
        report || return
        sleep 1
    done
}

round=0
tries=0
status=
ended=false
log=
net=
startup=
problems=
first=
log_start
if [ -s "$state/first" ]; then first=$(first_boot <"$state/first"); fi
keep_first 2>/dev/null &
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
