# Directories that may be new and that everybody must be able to enter.
open_dir() {
    (umask 022 && mkdir -p "$@")
}

# env_dropin DIRECTORY FILE...: services of that kind read these files.
env_dropin() {
    dir=/etc/systemd/system/$1
    shift
    open_dir "$dir"
    {
        echo '[Service]'
        for file; do printf 'EnvironmentFile=-%s\n' "$file"; done
    } >"$dir/50-kvmctl-env.conf"
    chmod 0644 "$dir/50-kvmctl-env.conf"
}

env_remove() {
    rm -f /etc/kvmctl/env /etc/kvmctl/env.secret /etc/profile.d/kvmctl-env.sh \
        /etc/rc.conf.d/kvmctl-env.conf /etc/systemd/system/*.d/50-kvmctl-env.conf
}

# A drop-in of the same name for one unit replaces the one for all services:
# what starts other people's sessions is not given the secrets.
env_install() {
    if [ -d /run/systemd/system ]; then
        env_dropin service.d /etc/kvmctl/env /etc/kvmctl/env.secret
        for unit in user@ getty@ serial-getty@ console-getty container-getty@; do
            env_dropin "$unit.service.d" /etc/kvmctl/env
        done
        systemctl daemon-reload || problem 'systemctl daemon-reload failed'
    elif [ -f /etc/rc.conf ]; then
        open_dir /etc/rc.conf.d
        printf '%s\n' '. /etc/profile.d/kvmctl-env.sh' >/etc/rc.conf.d/kvmctl-env.conf
        chmod 0644 /etc/rc.conf.d/kvmctl-env.conf
    fi
}

# The user-data stays in the guest when the medium is replaced by one without:
# what it asks for at every boot must go on to happen.
seal() {
    raw=/var/lib/cloud/instance/user-data.txt
    if [ "$user_data_sha256" != none ] && [ ! -e "$state/user-data" ]; then
        cp "$raw" "$state/user-data.kvmctl" && chmod 0600 "$state/user-data.kvmctl" || return
        sum=$(sha256sum <"$state/user-data.kvmctl")
        if [ "${sum%% *}" != "$user_data_sha256" ]; then
            rm -f "$state/user-data.kvmctl"
            problem 'the user-data changed on its way to cloud-init'
            return
        fi
        mv -f "$state/user-data.kvmctl" "$state/user-data"
    fi
    : >"$state/sealed"
}
