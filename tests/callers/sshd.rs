//! An ssh daemon on the private host, and a client that knows it.

use std::fs;
use std::path::Path;

use super::host::{PrivateHost, Who};

/// Where it listens.
pub(super) const PORT: u16 = 2222;

/// Starts one that lets the member of the libvirt group in, and gives `home` the key and the host's
/// own key, both under names that ssh does not look for by itself.
pub(super) fn start(host: &PrivateHost, home: &Path) {
    let folder = home.join(".ssh");
    fs::create_dir(&folder).unwrap();
    let place = host.path("sshd").display().to_string();
    let script = format!(
        "set -e; mkdir -p {place} /run/sshd; cd {place}
        ssh-keygen -q -t ed25519 -N '' -f host
        ssh-keygen -q -t ed25519 -N '' -f client
        cat > config <<CONF
Port {PORT}
ListenAddress 127.0.0.1
HostKey {place}/host
AuthorizedKeysFile {place}/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PidFile {place}/pid
LogLevel DEBUG1
CONF
        $(command -v sshd || echo /usr/sbin/sshd) -f config -E {place}/log"
    );
    host.run(Who::Root, &["sh", "-c", &script]).ok();
    let sshd = host.path("sshd");
    fs::copy(sshd.join("client"), folder.join("its key")).unwrap();
    let key = fs::read_to_string(sshd.join("host.pub")).unwrap();
    let known = format!("[127.0.0.1]:{PORT} {key}");
    fs::write(folder.join("its_hosts"), known).unwrap();
}

/// Returns what it wrote.
pub(super) fn log(host: &PrivateHost) -> String {
    fs::read_to_string(host.path("sshd/log")).unwrap()
}
