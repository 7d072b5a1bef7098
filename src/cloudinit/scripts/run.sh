# Startup commands. State and failures stand in $kvmctl_state/run for the reporter.
kvmctl_log=/var/log/cloud-init-output.log
: "${HOME:=/root}"
export HOME
cd / || exit 1
read -r kvmctl_boot </proc/sys/kernel/random/boot_id

kvmctl_note() {
    (umask 077 && cat >"$kvmctl_state/run.new") && mv -f "$kvmctl_state/run.new" "$kvmctl_state/run"
}

# kvmctl_step WHAT ARGV...: runs it as it is, with the environment; ends all at a failure.
kvmctl_step() {
    kvmctl_what=$1
    shift
    printf 'running %s 0 %s\n' "$kvmctl_what" "$kvmctl_boot" | kvmctl_note
    kvmctl_from=$(wc -c 2>/dev/null <"$kvmctl_log") || kvmctl_from=0
    (
        if [ -r /etc/profile.d/kvmctl-env.sh ]; then . /etc/profile.d/kvmctl-env.sh; fi
        exec "$@"
    ) </dev/null
    kvmctl_code=$?
    [ "$kvmctl_code" -ne 0 ] || return 0
    printf 'kvmctl: %s exited with %s\n' "$kvmctl_what" "$kvmctl_code" >&2
    # cloud-init copies our output into the log; give it time for the last lines.
    sleep 1
    {
        printf 'failed %s %s %s\n' "$kvmctl_what" "$kvmctl_code" "$kvmctl_boot"
        tail -c "+$((kvmctl_from + 1))" "$kvmctl_log" 2>/dev/null | tail -n 20 | tail -c 2000
    } | kvmctl_note
    exit "$kvmctl_code"
}
