//! The unit that puts things right at boot.

use super::host::guest_env;
use crate::support::tree;

/// The host's own units are out of reach here, and systemctl only writes down what it is asked.
const SCRIPT: &str = r#"
set -eu
mount -t tmpfs tmpfs /etc/systemd/system
mkdir -p "$HOME/bin"
printf '#!/bin/sh\necho "$@" >> "$HOME/asked"\n' > "$HOME/bin/systemctl"
chmod +x "$HOME/bin/systemctl"
PATH=$HOME/bin:$PATH
unit=/etc/systemd/system/kvmctl-reconcile.service
kvmctl setup --yes --no-probe --persist > "$HOME/equivalent"
test ! -e $unit
mkdir -p /run/systemd/system
trap 'rmdir /run/systemd/system /run/systemd 2>/dev/null || true' EXIT
kvmctl setup --yes --no-probe --persist
cat $unit
stat -c %a $unit
kvmctl setup --yes --no-probe --persist
systemd-analyze verify --man=no $unit 2>&1 | grep kvmctl || true
line=$(sed -n 's/^ExecStart=//p' $unit)
eval "$line"
kvmctl setup --yes --no-probe --no-persist
kvmctl setup --yes --no-probe --no-persist
test ! -e $unit
echo --- asked
cat "$HOME/asked"
echo --- equivalent
cat "$HOME/equivalent"
eval "$(tail -n 1 "$HOME/equivalent")"
"#;

#[test]
fn a_unit_comes_and_goes() {
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
            "disable kvmctl-reconcile.service",
            "daemon-reload",
        ],
        "{ran}"
    );
    ran.prints("After=libvirtd.service")
        .prints("\n644\n")
        .prints("env HOME=");
}
