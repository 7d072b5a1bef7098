#!/usr/bin/env bash
# Everything that must hold before a change is taken.
#
#   run.sh            installs what is missing, then runs all steps
#   run.sh STEP…      runs these steps only
#   run.sh --clean    takes away what the steps made
#
# Steps: fmt clippy unit doc generated tier1 tier2 tier3 callers nets forwards balancers
#
# nets has a private host of its own, with fake guests on real networks.
#
# forwards restarts the libvirtd of a private host of its own and flushes its rules.
#
# balancers has a private host of its own, whose ports it fills.
#
# callers has hosts of its own with other users: a member of the libvirt group and
# one without any right. Needs root, too.
#
# Tier 3 boots real guests. It runs on a private host (lib/private-host.sh): own
# libvirtd, network and directories, so that it neither sees nor touches this
# machine's guests. Needs root. The guest images are built from the package
# archive and kept under the target directory.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$REPO"
# shellcheck source=examples/lib/host.sh
. "$REPO/examples/lib/host.sh"

TARGET=${CARGO_TARGET_DIR:-$REPO/target}
export KVMCTL_TEST_IMAGES=$TARGET/test-images
export KVMCTL_TEST_STATE=$TARGET/test-host
STEPS=(fmt clippy unit doc generated tier1 tier2 tier3 callers nets forwards balancers)
# These wait more than they compute, so they go beside those with guests that boot.
BESIDE=(nets forwards balancers)

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# The environment of the person who calls must not decide how a test ends.
unset KVMCTL_CONFIG KVMCTL_STORE KVMCTL_CONTEXT KVMCTL_URI LIBVIRT_DEFAULT_URI KVMCTL_ACCELERATOR

started=$SECONDS
step() { echo "==> [$((SECONDS - started)) s] $*"; }

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

prepare() {
    step "packages"
    host_install_packages build run image test
    host_check_cargo
}

run_fmt() { cargo fmt --all --check; }
run_clippy() { cargo clippy --quiet --locked --all-targets -- -D warnings; }
run_unit() { limited 900 cargo test --locked --lib; }
run_doc() { RUSTDOCFLAGS=-Dwarnings cargo doc --quiet --locked --no-deps; }

run_generated() {
    local fresh
    cargo build --quiet --locked
    fresh=$(mktemp -d)
    "$TARGET/debug/kvmctl" generate "$fresh"
    if diff -r "$fresh/completions" completions && diff -r "$fresh/man" man; then
        rm -rf "$fresh"
        echo "completions/ and man/ are up to date"
        return
    fi
    rm -rf "$fresh"
    host_fail "completions/ or man/ differ from what the grammar says" \
        "cargo run -- generate . && git add completions man"
}

run_tier1() { limited 600 cargo test --locked --test kvmctl-tests -- conformance:: layering:: tier1::; }
run_tier2() { limited 600 cargo test --locked --test kvmctl-tests -- tier2::; }

run_tier3() {
    local status=0
    [[ $EUID -eq 0 ]] || host_fail "tier 3 needs root" "sudo ./tests/run.sh tier3"
    build_images
    cargo build --quiet --locked
    cargo test --quiet --locked --test kvmctl-tests --no-run
    limited 3000 tests/lib/private-host.sh "$KVMCTL_TEST_STATE" tests/lib/tier3.sh || status=$?
    return "$status"
}

run_nets() {
    [[ $EUID -eq 0 ]] || host_fail "networks need root" "sudo ./tests/run.sh nets"
    cargo test --quiet --locked --test kvmctl-tests --no-run
    limited 600 tests/lib/private-host.sh "$KVMCTL_TEST_STATE-nets" tests/lib/nets.sh
}

run_forwards() {
    [[ $EUID -eq 0 ]] || host_fail "forwards need root" "sudo ./tests/run.sh forwards"
    build_image tiny tests/lib/tiny-image.sh
    cargo build --quiet --locked
    cargo test --quiet --locked --test kvmctl-tests --no-run
    limited 600 tests/lib/private-host.sh "$KVMCTL_TEST_STATE-forwards" tests/lib/forwards.sh
}

run_balancers() {
    [[ $EUID -eq 0 ]] || host_fail "balancers need root" "sudo ./tests/run.sh balancers"
    cargo build --quiet --locked
    cargo test --quiet --locked --test kvmctl-tests --no-run
    limited 600 tests/lib/private-host.sh "$KVMCTL_TEST_STATE-balancers" tests/lib/balancers.sh
}

run_callers() {
    [[ $EUID -eq 0 ]] || host_fail "only root can be somebody else" "sudo ./tests/run.sh callers"
    build_images
    limited 2400 cargo test --locked --test kvmctl-tests -- callers:: --test-threads=2
}

build_images() {
    build_image debian-12 examples/lib/demo-image.sh
    build_image debian-12-noagent examples/lib/demo-image.sh --no-agent
    build_image tiny tests/lib/tiny-image.sh
    build_image tiny-uefi tests/lib/tiny-image.sh --uefi
}

# Usage: build_image NAME BUILDER [ARG…]
build_image() {
    local image=$KVMCTL_TEST_IMAGES/$1.qcow2 builder=$2
    shift 2
    [[ ! -s $image ]] || return 0
    mkdir -p "$KVMCTL_TEST_IMAGES"
    step "building $(basename "$image")"
    KVMCTL_CACHE=$KVMCTL_TEST_IMAGES limited 1500 "$builder" "$image" "$@"
}

# A test that hangs is a failure, and says so in time.
limited() {
    local seconds=$1 status=0
    shift
    timeout --kill-after=20 "$seconds" "$@" </dev/null || status=$?
    [[ $status -ne 124 ]] || host_fail "not done after $seconds s: $*"
    return "$status"
}

clean() {
    rm -rf "$KVMCTL_TEST_IMAGES" "$KVMCTL_TEST_STATE" "$KVMCTL_TEST_STATE"-{nets,forwards,balancers}
}

main() {
    local name failed=() beside=()
    prepare
    for name in "$@"; do
        if [[ $name == tier3 ]]; then
            read -ra beside <<< "$(among "$*" "${BESIDE[@]}")"
            [[ ${#beside[@]} -eq 0 ]] || start_beside "${beside[@]}"
        fi
        [[ " ${beside[*]} " != *" $name "* ]] || continue
        step "$name"
        # In a process of its own: one that fails must not keep the others from telling.
        if ! (set -e; trap - ERR; "run_$name"); then
            failed+=("$name")
            echo "FAILED: $name"
        fi
    done
    [[ ${#beside[@]} -eq 0 ]] || end_beside || failed+=("one of: ${beside[*]}")
    step "done"
    if [[ ${#failed[@]} -gt 0 ]]; then
        echo "error: failed: ${failed[*]}" >&2
        exit 1
    fi
    echo "all passed: $*"
}

# Usage: among "STEPS" STEP…    prints those STEPs that are in STEPS
among() {
    local all=" $1 " name
    shift
    for name in "$@"; do
        [[ $all != *" $name "* ]] || echo -n "$name "
    done
}

# In a session of its own, so that all of it goes when we do.
start_beside() {
    build_images
    cargo build --quiet --locked
    cargo test --quiet --locked --test kvmctl-tests --no-run
    step "$* (what they say comes at the end)"
    BESIDE_LOG=$(mktemp)
    setsid "${BASH_SOURCE[0]}" "$@" > "$BESIDE_LOG" 2>&1 </dev/null &
    BESIDE_SESSION=$!
    trap 'pkill -s "$BESIDE_SESSION" || true; rm -f "$BESIDE_LOG"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

end_beside() {
    local status=0
    step "${BESIDE[*]}: what they said"
    wait "$BESIDE_SESSION" || status=$?
    cat "$BESIDE_LOG"
    return "$status"
}

for argument in "$@"; do
    case $argument in
        --clean) clean; exit ;;
        -h | --help) usage; exit ;;
        *)
            if [[ " ${STEPS[*]} " != *" $argument "* ]]; then
                echo "error: unknown step $argument" >&2
                echo "hint: ./tests/run.sh --help" >&2
                exit 2
            fi
            ;;
    esac
done
if [[ $# -eq 0 ]]; then
    set -- "${STEPS[@]}"
fi
main "$@"
