//! A libvirtd of an ordinary user's, with the test driver, reached over its socket.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `nobody` on every distribution.
const NOBODY: u32 = 65534;

/// The daemon, and a client that stays connected: the test driver keeps its state only so long.
pub(crate) struct Daemon {
    home: TempDir,
    daemon: Child,
    holder: Child,
}

impl Daemon {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        let home = tempfile::Builder::new()
            .prefix("kvmctl-test-")
            .tempdir()
            .unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut command = as_user(&home);
        command
            .arg(libvirtd())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(home.path().join("stderr")).unwrap());
        let mut daemon = command.spawn().unwrap();
        let socket = home.path().join("libvirt/libvirt-sock");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !socket.exists() {
            if let Some(status) = daemon.try_wait().unwrap() {
                let said = fs::read_to_string(home.path().join("stderr")).unwrap_or_default();
                panic!("libvirtd ended: {status}\n{said}");
            }
            assert!(Instant::now() < deadline, "libvirtd makes no socket");
            std::thread::sleep(Duration::from_millis(50));
        }
        let holder = Command::new("virsh")
            .args(["-q", "-c", &uri(&home)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self {
            home,
            daemon,
            holder,
        };
        started.virsh(&["uri"]);
        started
    }

    /// Returns what kvmctl and virsh connect to.
    pub(crate) fn uri(&self) -> String {
        uri(&self.home)
    }

    /// Runs virsh on it and returns what it prints.
    #[track_caller]
    pub(crate) fn virsh(&self, args: &[&str]) -> String {
        let output = Command::new("virsh")
            .args(["-q", "-c", &self.uri()])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "virsh {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for child in [&mut self.holder, &mut self.daemon] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn uri(home: &TempDir) -> String {
    let socket = home.path().join("libvirt/libvirt-sock");
    format!("test+unix:///default?socket={}", socket.display())
}

fn libvirtd() -> PathBuf {
    ["/usr/sbin/libvirtd", "/usr/bin/libvirtd", "/sbin/libvirtd"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("libvirtd is installed: tests/run.sh does it")
}

/// Root's libvirtd would be the system's: as another user it is a private one.
fn as_user(home: &TempDir) -> Command {
    if !is_root() {
        return Command::new("env");
    }
    chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
