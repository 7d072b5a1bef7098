# shellcheck shell=bash
# What a host needs for kvmctl: packages, a Rust toolchain, a running libvirtd.
#
# Source it. Every function may be called again: it does what is missing and
# is quick when nothing is. Messages go to stderr.
#
#   host_install_packages GROUP…   build, run, image (the image builders), test
#   host_check_cargo               cargo that can build this crate
#   host_start_libvirtd STATE_DIR  a libvirtd that answers
#   host_stop_libvirtd STATE_DIR   ends what host_start_libvirtd started

HOST_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

host_say() { echo "host: $*" >&2; }
host_fail() {
    echo "error: $1" >&2
    [[ -z ${2:-} ]] || echo "hint: $2" >&2
    return 1
}

host_has_systemd() { [[ -d /run/systemd/system ]]; }

# ---- packages ---------------------------------------------------------------

# Names with a question mark are installed where the distribution has them.
host_apt_group() {
    case $1 in
        build) echo gcc libc6-dev pkg-config libvirt-dev ;;
        run)
            echo libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-daemon-config-network
            echo libvirt-clients qemu-system-x86 qemu-utils dnsmasq-base iptables nftables
            echo xorriso nginx-light libnginx-mod-stream conntrack iproute2
            echo openssh-client curl ca-certificates
            ;;
        image)
            echo mmdebstrap extlinux syslinux-common busybox-static cpio e2fsprogs fdisk
            echo kmod xz-utils zstd util-linux mount
            ;;
        test)
            echo genisoimage strace hyperfine libxml2-utils ovmf swtpm swtpm-tools
            echo openssl netcat-openbsd procps openssh-server sudo dosfstools mtools zsh fish 'passt?' 'valgrind?' 'shellcheck?'
            ;;
        *) host_fail "no package group $1 (known: build, run, image, test)" ;;
    esac
}

# A path stands for whichever package has it: RHEL has curl-minimal for curl.
host_dnf_group() {
    case $1 in
        build) echo gcc pkgconf-pkg-config libvirt-devel ;;
        run)
            echo libvirt-daemon-driver-qemu libvirt-daemon-driver-network
            echo libvirt-daemon-driver-storage-core libvirt-daemon-config-network libvirt-client
            echo qemu-kvm qemu-img dnsmasq iptables-nft nftables xorriso nginx nginx-mod-stream
            echo conntrack-tools iproute openssh-clients /usr/bin/curl ca-certificates
            ;;
        image)
            echo mmdebstrap syslinux-extlinux syslinux busybox cpio e2fsprogs kmod xz zstd
            echo util-linux
            ;;
        test)
            echo openssl strace libxml2 edk2-ovmf swtpm swtpm-tools nmap-ncat procps-ng openssh-server
            echo sudo dosfstools mtools zsh fish
            echo 'hyperfine?' 'genisoimage?' 'passt?' 'valgrind?' 'ShellCheck?'
            ;;
        *) host_fail "no package group $1 (known: build, run, image, test)" ;;
    esac
}

# Usage: host_install_packages GROUP…
host_install_packages() {
    local manager group names wanted=()
    manager=$(host_package_manager) || return
    for group in "$@"; do
        names=$("host_${manager}_group" "$group") || return
        read -r -d '' -a names <<< "$names" || true
        wanted+=("${names[@]}")
    done
    "host_${manager}_install" "${wanted[@]}"
}

host_package_manager() {
    if command -v apt-get >/dev/null; then
        echo apt
    elif command -v dnf >/dev/null; then
        echo dnf
    else
        host_fail "no apt-get and no dnf here: this host's packages must be installed by hand" \
            "needed, under their Debian names: $(for group in build run image; do
                host_apt_group "$group"
            done | xargs)"
    fi
}

host_need_root() {
    [[ $EUID -eq 0 ]] || host_fail "installing packages needs root; missing: $*" "sudo $0"
}

host_any_required() {
    local name
    for name in "$@"; do
        [[ $name == *\? ]] || return 0
    done
    return 1
}

# Print those of the packages that are not installed.
host_apt_missing() {
    local installed name
    # It fails when a name is unknown, which is no failure here.
    installed=$({ dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${@%\?}" 2>/dev/null || true; } |
        awk '$1 == "installed" { print $2 }')
    for name in "$@"; do
        grep -qxF -- "${name%\?}" <<< "$installed" || echo "$name"
    done
}

host_apt_install() {
    local missing target=() names=() name
    mapfile -t missing < <(host_apt_missing "$@")
    # What the distribution may not have is no reason to update the lists each time.
    host_any_required "${missing[@]}" || return 0
    host_need_root "${missing[@]%\?}" || return
    apt-get update -qq >&2 || host_say "apt-get update failed; going on with the lists that are here"
    if host_apt_wants_backports; then
        host_apt_add_backports || return
        target=(-t "$(host_apt_codename)-backports")
    fi
    for name in "${missing[@]}"; do
        if [[ $name == *\? ]]; then
            name=${name%\?}
            host_apt_offers "$name" || { host_say "not in this distribution: $name"; continue; }
        fi
        names+=("$name")
    done
    host_say "installing ${names[*]}"
    # The subshell's trap cleans up even when this is interrupted.
    (
        trap host_release_services EXIT
        host_hold_services
        DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 host_quietly apt-get install -y \
            --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
            -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
            "${target[@]}" "${names[@]}"
    ) || host_fail "apt-get could not install ${names[*]}" \
        "apt-get install ${target[*]} ${names[*]}"
}

# Run a command, and show what it said only if it failed.
host_quietly() {
    local log status=0
    log=$(mktemp)
    "$@" > "$log" 2>&1 </dev/null || status=$?
    [[ $status -eq 0 ]] || tail -n 40 "$log" >&2
    rm -f "$log"
    return "$status"
}

host_apt_offers() {
    [[ -n $(apt-cache madison "$1" 2>/dev/null) ]]
}

host_apt_codename() {
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "${VERSION_CODENAME:-}")
}

# True where part of QEMU or libvirt is installed from backports: the rest of
# it from the ordinary suite then conflicts.
#
# Such a package is newer than all that the ordinary suites offer. Its version
# says so too (~bpo), but not where it was mixed in some other way.
host_apt_wants_backports() {
    local package installed ordinary
    for package in qemu-utils qemu-system-common qemu-system-data libvirt0 libvirt-dev; do
        installed=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null) || continue
        ordinary=$(apt-cache madison "$package" |
            awk -F'|' '$3 !~ /-backports\// && !n++ { gsub(/ /, "", $2); print $2 }')
        [[ -n $installed && -n $ordinary ]] || continue
        dpkg --compare-versions "$installed" gt "$ordinary" && return 0
    done
    return 1
}

# Add the backports suite of the archive that the host already uses.
host_apt_add_backports() {
    local codename site keyring=/usr/share/keyrings/debian-archive-keyring.gpg signed=''
    codename=$(host_apt_codename)
    # shellcheck disable=SC2016 # apt's variables, not the shell's
    if apt-get indextargets --format '$(CODENAME)' | grep -cx "$codename-backports" >/dev/null; then
        return 0
    fi
    # shellcheck disable=SC2016
    site=$(apt-get indextargets --format '$(SITE) $(CODENAME) $(ORIGIN)' |
        awk -v codename="$codename" '$2 == codename && $3 == "Debian" && !n++ { print $1 }')
    [[ -n $site ]] || {
        host_fail "QEMU is partly installed from backports, and no Debian archive is set up for $codename"
        return
    }
    [[ -r $keyring ]] && signed="[signed-by=$keyring] "
    host_say "adding $codename-backports, from which QEMU is already installed in part"
    echo "deb $signed$site $codename-backports main" > /etc/apt/sources.list.d/kvmctl-backports.list
    apt-get update -qq >&2
}

HOST_POLICY=/usr/sbin/policy-rc.d

# Keep the new packages from starting their daemons. With no service manager
# nothing would look after them; with one, libvirtd may start, but not nginx,
# for it would take port 80 (kvmctl runs its own).
host_hold_services() {
    if ! host_has_systemd; then
        [[ ! -e $HOST_POLICY ]] || return 0
        printf '#!/bin/sh\n# kvmctl host.sh\nexit 101\n' > "$HOST_POLICY"
        chmod 755 "$HOST_POLICY"
    elif ! systemctl cat nginx.service >/dev/null 2>&1; then
        systemctl mask --runtime nginx.service >/dev/null 2>&1
        HOST_HELD_NGINX=1
    fi
}

host_release_services() {
    if [[ -f $HOST_POLICY ]] && grep -q '^# kvmctl host.sh$' "$HOST_POLICY"; then
        rm -f "$HOST_POLICY"
    fi
    if [[ -n ${HOST_HELD_NGINX:-} ]]; then
        systemctl unmask --runtime nginx.service >/dev/null 2>&1
        systemctl disable nginx.service >/dev/null 2>&1 || true
    fi
}

host_dnf_missing() {
    local name
    for name in "$@"; do
        rpm -q --whatprovides "${name%\?}" >/dev/null 2>&1 || echo "$name"
    done
}

host_dnf_install() {
    local missing names=() name
    mapfile -t missing < <(host_dnf_missing "$@")
    host_any_required "${missing[@]}" || return 0
    host_need_root "${missing[@]%\?}" || return
    for name in "${missing[@]}"; do
        if [[ $name == *\? ]]; then
            name=${name%\?}
            dnf -q list --available "$name" >/dev/null 2>&1 ||
                { host_say "not in this distribution: $name"; continue; }
        fi
        names+=("$name")
    done
    host_say "installing ${names[*]}"
    host_quietly dnf install -y --setopt=install_weak_deps=False "${names[@]}" ||
        host_fail "dnf could not install ${names[*]}" \
            "dnf install ${names[*]}   (on RHEL some are in the CRB and EPEL repositories)"
}

# ---- Rust -------------------------------------------------------------------

# Is version $1 at least $2?
host_version_ge() {
    [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]
}

# The version that a package manager would install, or nothing.
host_packaged_rust() {
    if command -v apt-cache >/dev/null; then
        apt-cache policy rustc | awk '$1 == "Candidate:" { print $2 }'
    elif command -v dnf >/dev/null; then
        dnf -q repoquery --latest-limit=1 --qf '%{version}\n' rust 2>/dev/null | tail -n 1
    fi | grep -oE '^[0-9]+\.[0-9]+(\.[0-9]+)?' || true
}

# Make sure of a cargo that can build this crate; what rustup installed counts
# also where the shell that called us has not got it on its PATH.
host_check_cargo() {
    local wanted have packaged
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$HOST_REPO/Cargo.toml")
    command -v cargo >/dev/null || [[ ! -x $HOME/.cargo/bin/cargo ]] || PATH=$HOME/.cargo/bin:$PATH
    have=$({ cargo --version 2>/dev/null || true; } | awk '{ print $2 }')
    if [[ -n $have ]] && host_version_ge "$have" "$wanted"; then
        return 0
    fi
    packaged=$(host_packaged_rust)
    if [[ -z $have && -n $packaged ]] && host_version_ge "$packaged" "$wanted"; then
        host_install_rust
        return
    fi
    if command -v rustup >/dev/null; then
        host_fail "cargo is $have, and this crate needs $wanted" "rustup update stable"
    else
        host_fail "cargo is ${have:-missing}, this crate needs $wanted, the distribution has ${packaged:-none}" \
            "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
    fi
}

host_install_rust() {
    if command -v apt-get >/dev/null; then
        host_apt_install cargo rustc
    else
        host_dnf_install cargo rust
    fi
}

# ---- libvirtd ---------------------------------------------------------------

host_libvirt_answers() {
    timeout 10 virsh -q -c qemu:///system uri >/dev/null 2>&1
}

# Usage: host_start_libvirtd STATE_DIR
host_start_libvirtd() {
    local state=$1
    host_libvirt_answers && return 0
    [[ $EUID -eq 0 ]] || {
        host_fail "libvirtd does not answer, and starting it needs root" "sudo systemctl start libvirtd"
        return
    }
    if host_has_systemd; then
        host_start_libvirt_units || return
    else
        host_start_daemon "$state" virtlogd || return
        host_start_daemon "$state" libvirtd || return
    fi
    host_wait_libvirt
}

# One daemon where the distribution has one, else a daemon for each driver.
host_start_libvirt_units() {
    if systemctl cat libvirtd.service >/dev/null 2>&1 &&
        ! systemctl -q is-enabled virtqemud.socket 2>/dev/null; then
        systemctl enable --now libvirtd.service >&2
    else
        systemctl enable --now virtlogd.socket virtqemud.socket virtnetworkd.socket \
            virtstoraged.socket virtsecretd.socket virtnodedevd.socket virtnwfilterd.socket >&2
    fi
}

# The process id in a daemon's own file, if such a process is running.
host_daemon_pid() {
    local pid
    pid=$(cat "/run/$1.pid" 2>/dev/null) || return 1
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$1" ]] && echo "$pid"
}

# When a process started, in clock ticks after boot: with its id, its identity.
host_start_time() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

host_start_daemon() {
    local state=$1 name=$2 pid tries
    host_daemon_pid "$name" >/dev/null && return 0
    host_say "starting $name"
    # The daemon must not hold on to a lock file or pipe of the caller.
    "$(command -v "$name" || echo "/usr/sbin/$name")" -d </dev/null >/dev/null 2>&1 3>&- 4>&- 9>&- ||
        host_fail "$name does not start" "$name -v" || return
    for ((tries = 0; tries < 50; tries++)); do
        if pid=$(host_daemon_pid "$name"); then
            mkdir -p "$state"
            echo "$name $pid $(host_start_time "$pid")" >> "$state/started-daemons"
            return 0
        fi
        sleep 0.1
    done
    host_fail "$name started, but there is no process of that name" "$name -v"
}

host_wait_libvirt() {
    local tries
    for ((tries = 0; tries < 60; tries++)); do
        host_libvirt_answers && return 0
        sleep 0.5
    done
    host_fail "libvirtd does not answer after 30 seconds" "virsh -c qemu:///system uri"
}

# End the daemons that host_start_libvirtd started, newest first. They stay
# while guests run: those write their console logs through virtlogd.
# Usage: host_stop_libvirtd STATE_DIR
host_stop_libvirtd() {
    local file=$1/started-daemons name pid start
    [[ -s $file ]] || return 0
    if [[ -n $(timeout 10 virsh -q -c qemu:///system list --name 2>/dev/null | tr -d '\n') ]]; then
        host_say "guests are running: libvirtd stays"
        return 0
    fi
    while read -r name pid start; do
        [[ $(host_start_time "$pid") == "$start" ]] || continue
        host_say "stopping $name"
        kill "$pid" 2>/dev/null || continue
        timeout 20 tail --pid="$pid" -f /dev/null || host_say "$name ($pid) does not end"
    done < <(tac "$file")
    rm -f "$file"
}
