# Runs at every boot, early. What it needs stands in variables above.
set -u
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
state=/var/lib/kvmctl/$instance
run=/run/kvmctl
mkdir -p "$state" "$run"
chmod 0700 /var/lib/kvmctl "$state" "$run"
rm -f "$run/problems"

problem() {
    printf '%s\n' "$*" >>"$run/problems"
    printf 'kvmctl: %s\n' "$*" >&2
}

# put FILE MODE: writes what base64 on stdin says, whole or not at all.
put() {
    if base64 -d >"$1.kvmctl" && chmod "$2" "$1.kvmctl" && mv -f "$1.kvmctl" "$1"; then
        return 0
    fi
    rm -f "$1.kvmctl"
    problem "cannot write $1"
}

# Its own unit, so that it is neither waited for nor ended with cloud-init.
start_reporter() {
    if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
        systemd-run --quiet --no-block --collect --unit=kvmctl-reporter \
            --description='tell the host how cloud-init stands' \
            --property=DefaultDependencies=no --property=Before=shutdown.target \
            --property=Conflicts=shutdown.target --property=StandardOutput=null \
            /bin/sh "$run/reporter" "$instance" </dev/null >/dev/null 2>&1 && return
        systemctl --quiet is-active kvmctl-reporter.service && return
    fi
    setsid /bin/sh "$run/reporter" "$instance" </dev/null >/dev/null 2>&1 &
}
