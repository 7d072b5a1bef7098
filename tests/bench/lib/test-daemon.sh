# shellcheck shell=bash
# A private libvirtd without privileges, whose test driver holds as many domains as wanted.
#
# Its state lives as long as one client stays connected, so one virsh does.

# Usage: test_daemon_start USER. Sets TEST_URI.
test_daemon_start() {
    local home=$BENCH_DIR/daemon daemon
    daemon=$(command -v libvirtd || echo /usr/sbin/libvirtd)
    [[ -x $daemon ]] || bench_die "no libvirtd here" "apt-get install libvirt-daemon"
    mkdir -p "$home/run"
    chown -R "$1" "$home"
    chmod 700 "$home/run"
    # An ordinary user's libvirtd is the unprivileged one.
    setpriv --reuid "$1" --clear-groups env -i PATH="$PATH" HOME="$home" XDG_RUNTIME_DIR="$home/run" \
        "$daemon" --timeout 600 > "$home/log" 2>&1 &
    TEST_DAEMON=$!
    TEST_URI="test+unix:///default?socket=$home/run/libvirt/libvirt-sock"
    local waited
    for ((waited = 0; waited < 100; waited++)); do
        virsh -q -c "$TEST_URI" uri >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    cat "$home/log" >&2
    bench_die "the test daemon does not answer"
}

# Usage: test_daemon_domains COUNT: managed domains, as kvmctl would have made them.
test_daemon_domains() {
    local at uid xml=$BENCH_DIR/domains
    mkdir -p "$xml"
    mkfifo "$BENCH_DIR/commands"
    virsh -q -c "$TEST_URI" < "$BENCH_DIR/commands" > "$BENCH_DIR/virsh.log" 2>&1 &
    TEST_HOLDER=$!
    exec {TEST_COMMANDS}> "$BENCH_DIR/commands"
    for ((at = 1; at <= $1; at++)); do
        uid=$(cat /proc/sys/kernel/random/uuid)
        test_domain "vm$at" "$uid" > "$xml/$at.xml"
        echo "define $xml/$at.xml" >&"$TEST_COMMANDS"
    done
    local there
    for ((at = 0; at < 300; at++)); do
        there=$(virsh -q -c "$TEST_URI" list --all --name | grep -c '^vm' || true)
        [[ $there -eq $1 ]] && return 0
        sleep 0.2
    done
    tail "$BENCH_DIR/virsh.log" >&2
    bench_die "only $there of $1 domains were made"
}

test_domain() {
    cat <<XML
<domain type='test'>
  <name>$1</name>
  <uuid>$2</uuid>
  <metadata>
    <kvmctl:object xmlns:kvmctl="https://kvmctl.dev/ns/v1">
      <kvmctl:uid>$2</kvmctl:uid>
      <kvmctl:name>$1</kvmctl:name>
      <kvmctl:generation>1</kvmctl:generation>
      <kvmctl:creation>1700000000</kvmctl:creation>
      <kvmctl:spec>{"image":"debian-12","type":"basic-1"}</kvmctl:spec>
      <kvmctl:extra>{"address":"192.168.122.130"}</kvmctl:extra>
    </kvmctl:object>
  </metadata>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
</domain>
XML
}

test_daemon_stop() {
    [[ -z ${TEST_COMMANDS:-} ]] || exec {TEST_COMMANDS}>&-
    [[ -z ${TEST_HOLDER:-} ]] || { kill "$TEST_HOLDER"; wait "$TEST_HOLDER"; } 2>/dev/null || true
    [[ -z ${TEST_DAEMON:-} ]] || { kill "$TEST_DAEMON"; wait "$TEST_DAEMON"; } 2>/dev/null || true
    unset TEST_COMMANDS TEST_HOLDER TEST_DAEMON
    rm -rf --one-file-system "$BENCH_DIR/commands" "$BENCH_DIR/domains" "$BENCH_DIR/daemon" "$BENCH_DIR/store"
}
