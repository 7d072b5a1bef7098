//! The units that put things right at boot and watch over targets.

use super::host::guest_env;
use crate::support::tree;

/// The host's own units are out of reach here, and systemctl only writes down what it is asked.
const SCRIPT: &str = r#"
set -eu
mount -t tmpfs tmpfs /etc/systemd/system
mkdir -p "$HOME/bin"
cat > "$HOME/bin/systemctl" <<'END'
#!/bin/sh
case $1 in
    is-*) test ! -e "$HOME/killed" ;;
    *) echo "$@" >> "$HOME/asked" ;;
esac
END
chmod +x "$HOME/bin/systemctl"
PATH=$HOME/bin:$PATH
folder=/etc/systemd/system
units="$folder/kvmctl-reconcile.service $folder/kvmctl-watch.service"
kvmctl setup --yes --no-probe --persist > "$HOME/equivalent"
test -z "$(ls $folder)"
mkdir -p /run/systemd/system
trap 'rmdir /run/systemd/system /run/systemd 2>/dev/null || true' EXIT
kvmctl setup --yes --no-probe --persist
cat $units
stat -c %a $units
kvmctl setup --yes --no-probe --persist
rm $folder/kvmctl-watch.service
kvmctl setup --yes --no-probe --persist
touch "$HOME/killed"
kvmctl setup --yes --no-probe --persist
rm "$HOME/killed"
systemd-analyze verify --man=no $units 2>&1 | grep kvmctl || true
line=$(sed -n 's/^ExecStart=//p' $folder/kvmctl-reconcile.service)
eval "$line"
kvmctl setup --yes --no-probe --no-persist
kvmctl setup --yes --no-probe --no-persist
test -z "$(ls $folder)"
echo --- asked
cat "$HOME/asked"
echo --- equivalent
cat "$HOME/equivalent"
eval "$(grep ' reconcile ' "$HOME/equivalent" | grep -v watch)"
"#;

#[test]
fn units_come_and_go() {
    let env = guest_env();
    assert!(tree().exists());
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_kvmctl"));
    let folder = program.parent().unwrap().display();
    let script = format!("PATH={folder}:$PATH\n{SCRIPT}");
    let ran = env.run("unshare", &["--mount", "bash", "-c", &script]).ok();
    let asked = ran.stdout.split("--- asked").nth(1).unwrap();
    let asked = asked.split("--- equivalent").next().unwrap().trim();
    assert_eq!(
        asked.lines().collect::<Vec<_>>(),
        [
            "daemon-reload",
            "reenable kvmctl-reconcile.service",
            "daemon-reload",
            "reenable kvmctl-watch.service",
            "restart kvmctl-watch.service",
            "daemon-reload",
            "reenable kvmctl-watch.service",
            "restart kvmctl-watch.service",
            "daemon-reload",
            "reenable kvmctl-reconcile.service",
            "daemon-reload",
            "reenable kvmctl-watch.service",
            "restart kvmctl-watch.service",
            "disable --now kvmctl-reconcile.service",
            "daemon-reload",
            "disable --now kvmctl-watch.service",
            "daemon-reload",
        ],
        "{ran}"
    );
    ran.prints("After=libvirtd.service")
        .prints("\n644\n644\n")
        .prints("\"reconcile\" \"--watch\"")
        .prints("Restart=always")
        .prints("env HOME=")
        .prints("reconcile --watch ");
}
