#!/usr/bin/env bash
# From a bare Debian 12 or 13 host to a web page served by a guest.
#
#   sudo examples/quickstart.sh            install, build, set up, run, fetch the page
#   sudo examples/quickstart.sh --clean    take the guest and what was made for it away
#
# It may be run again at any time: what is done already is not done again.
#
# KVMCTL_BIN=PATH     use this kvmctl instead of building one
# KVMCTL_CACHE=DIR    where the built guest image is kept
#                     (default: ~/.cache/kvmctl-quickstart)
# KVMCTL_PULL_TIMEOUT how many seconds the download of the image may take
#                     before it is built from packages instead (default: 600)
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$HERE")
# shellcheck source=examples/lib/host.sh
. "$HERE/lib/host.sh"

STATE=${XDG_STATE_HOME:-$HOME/.local/state}/kvmctl-quickstart
CACHE=${KVMCTL_CACHE:-$HOME/.cache/kvmctl-quickstart}
IMAGE=debian-12
INSTANCE=web

step() { echo "==> $*"; }
kvmctl() { "$KVMCTL" "$@"; }

# The program to run: the one given, or the crate's own.
find_kvmctl() {
    KVMCTL=${KVMCTL_BIN:-${CARGO_TARGET_DIR:-$REPO/target}/release/kvmctl}
}

install_and_build() {
    if [[ -n ${KVMCTL_BIN:-} ]]; then
        step "installing packages"
        host_install_packages run
        return
    fi
    step "installing packages"
    host_install_packages build run
    step "building kvmctl"
    host_check_cargo
    cargo build --quiet --release --locked --manifest-path "$REPO/Cargo.toml"
}

have() { kvmctl get "$@" >/dev/null 2>&1; }

# The catalogue's images are objects too; only some of them are on this host.
have_image() {
    [[ $(kvmctl get image "$IMAGE" -o jsonpath='{.status.cached}' 2>/dev/null) == true ]]
}

# Remember what is ours to take away again: --clean must not delete an image
# that was there before.
remember() { mkdir -p "$STATE" && touch "$STATE/made-$1"; }
made() { [[ -e $STATE/made-$1 ]]; }

get_image() {
    if have_image; then
        step "image $IMAGE is there"
        return
    fi
    step "getting the image $IMAGE"
    remember image
    if timeout "${KVMCTL_PULL_TIMEOUT:-600}" "$KVMCTL" images pull "$IMAGE"; then
        return
    fi
    step "no download: building an image from packages, $(built_release) under the name $IMAGE"
    host_install_packages image
    build_image
    kvmctl images import "$CACHE/$IMAGE.qcow2" --name "$IMAGE" --default-user "$(built_user)"
}

# The builder makes the host's own distribution, and Debian on the others.
built_user() {
    # shellcheck source=/dev/null
    (. /etc/os-release && [[ $ID == ubuntu ]] && echo ubuntu) || echo debian
}

# Which release that is, for it need not be the one of the image's name.
built_release() {
    # shellcheck source=/dev/null
    (. /etc/os-release && [[ $ID =~ ^(debian|ubuntu)$ ]] && echo "$ID ${VERSION_CODENAME:-}") ||
        echo "debian bookworm"
}

build_image() {
    [[ ! -s $CACHE/$IMAGE.qcow2 ]] || return 0
    remember cache
    KVMCTL_CACHE=$CACHE "$HERE/lib/demo-image.sh" "$CACHE/$IMAGE.qcow2"
}

run_instance() {
    step "running instance $INSTANCE"
    have instance "$INSTANCE" || remember instance
    kvmctl apply -f "$HERE/quickstart.yaml"
    kvmctl wait --for=condition=Ready "instance/$INSTANCE" --timeout=10m
    kvmctl get all
}

show_page() {
    local address
    address=$(kvmctl get instance "$INSTANCE" -o jsonpath='{.status.address}')
    step "the page at http://$address/"
    curl --silent --show-error --fail --noproxy '*' --max-time 10 \
        --retry 10 --retry-delay 1 --retry-connrefused "http://$address/"
}

up() {
    find_kvmctl
    install_and_build
    step "starting libvirtd"
    host_start_libvirtd "$STATE"
    step "setting up the host"
    kvmctl setup --yes
    get_image
    run_instance
    show_page
}

# Each part on its own, so that one that fails does not leave the rest behind.
clean() {
    local failed=0
    find_kvmctl
    if ! made instance && ! made image; then
        :
    elif [[ -x $KVMCTL ]] && host_start_libvirtd "$STATE"; then
        step "deleting what was made"
        if made instance; then
            kvmctl delete instance "$INSTANCE" --ignore-not-found && rm "$STATE/made-instance" || failed=1
        fi
        if made image; then
            kvmctl delete image "$IMAGE" --ignore-not-found && rm "$STATE/made-image" || failed=1
        fi
    else
        host_fail "no $KVMCTL, or libvirtd does not answer: instance and image stay" "$0" || failed=1
    fi
    if made cache; then
        step "deleting the built image"
        rm -f "$CACHE/$IMAGE.qcow2" "$CACHE"/{debian,ubuntu}-*.tar{,.lock,.part,.work} "$STATE/made-cache"
        rmdir "$CACHE" 2>/dev/null || true
    fi
    step "stopping libvirtd if this script started it"
    host_stop_libvirtd "$STATE" || failed=1
    rmdir "$STATE" 2>/dev/null || true
    return "$failed"
}

case ${1:-} in
    '') up ;;
    --clean) clean ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
    *)
        echo "error: unknown argument $1" >&2
        echo "hint: $0 --help" >&2
        exit 2
        ;;
esac
