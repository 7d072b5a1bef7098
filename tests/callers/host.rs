//! A host of one's own, its users, and what they see when they run kvmctl there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Guests without KVM take a whole core: one at a time.
static GUESTS: Mutex<()> = Mutex::new(());

/// Waits until no other test has a guest.
pub(super) fn guest_turn() -> MutexGuard<'static, ()> {
    GUESTS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Who may use the socket of the system daemon.
#[derive(Clone, Copy)]
pub(super) enum Socket {
    /// Root and the group libvirt, by its permissions.
    Group,
    /// Anybody may connect; polkit, which is not there, would decide.
    Polkit,
}

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Root.
    Root,
    /// A member of the libvirt group.
    Member,
    /// A user in no group.
    Alone,
}

impl Who {
    const fn name_and_id(self) -> (&'static str, u32) {
        match self {
            Self::Root => ("root", 0),
            Self::Member => ("kt-member", 64101),
            Self::Alone => ("kt-alone", 64102),
        }
    }
}

/// A private host. It ends with this value, or with the process of the test.
pub(super) struct PrivateHost {
    dir: tempfile::TempDir,
    outer: Child,
    inner: String,
}

impl PrivateHost {
    /// Starts one with an empty libvirtd.
    pub(super) fn start(socket: Socket) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root: sudo ./tests/run.sh"
        );
        let dir = tempfile::Builder::new().prefix("kvmctl-host-").tempdir();
        let dir = dir.unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), executable).unwrap();
        // The users of the host cannot look into root's home.
        std::fs::copy(env!("CARGO_BIN_EXE_kvmctl"), dir.path().join("kvmctl")).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/callers/private-host.sh");
        let outer = Command::new(script)
            .arg(dir.path())
            .env(
                "SOCKET",
                if matches!(socket, Socket::Group) {
                    "group"
                } else {
                    "polkit"
                },
            )
            .env("IMAGES", images())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut host = Self {
            dir,
            outer,
            inner: String::new(),
        };
        host.wait_ready();
        host
    }

    fn wait_ready(&mut self) {
        let begin = Instant::now();
        while !self.dir.path().join("ready").exists() {
            let ended = self.outer.try_wait().unwrap();
            assert!(ended.is_none(), "the private host did not start");
            assert!(begin.elapsed() < Duration::from_secs(60), "no libvirtd");
            std::thread::sleep(Duration::from_millis(50));
        }
        // The child of `unshare`, which is the child of the script.
        let child = |pid: &str| {
            let file = format!("/proc/{pid}/task/{pid}/children");
            std::fs::read_to_string(file).unwrap().trim().to_owned()
        };
        self.inner = child(&child(&self.outer.id().to_string()));
    }

    /// Returns its directory, in which the private parts of its file system lie.
    pub(super) fn path(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    /// Runs a program on the host, as somebody.
    pub(super) fn run(&self, who: Who, argv: &[&str]) -> Seen {
        self.run_with(who, &[], argv)
    }

    /// Runs a program on the host, as somebody, with variables.
    pub(super) fn run_with(&self, who: Who, vars: &[(&str, &str)], argv: &[&str]) -> Seen {
        let (name, id) = who.name_and_id();
        let (home, runtime) = match who {
            Who::Root => (self.path("home/root"), "/run".to_owned()),
            _ => (self.path("home").join(name), format!("/run/user/{id}")),
        };
        let mut command = self.enter(&["--mount", "--net", "--uts", "--pid"]);
        command
            .args(["setpriv", "--init-groups"])
            .args([format!("--reuid={id}"), format!("--regid={id}")])
            .args(argv)
            .env("HOME", home)
            .env("USER", name)
            .env("XDG_RUNTIME_DIR", runtime)
            .envs(vars.iter().copied());
        see(command)
    }

    /// Runs kvmctl on the host, as somebody.
    pub(super) fn kvmctl(&self, who: Who, args: &[&str]) -> Seen {
        self.run(who, &self.argv(args))
    }

    /// Runs kvmctl on another machine: it shares the network with the host, and no file. There `home`
    /// is also what the user database has as root's, where ssh looks.
    pub(super) fn kvmctl_elsewhere(&self, home: &Path, args: &[&str]) -> Seen {
        self.elsewhere(home, &self.argv(args))
    }

    /// Runs any program as [`PrivateHost::kvmctl_elsewhere`] runs kvmctl.
    pub(super) fn elsewhere(&self, home: &Path, argv: &[&str]) -> Seen {
        let mut command = self.enter(&["--net"]);
        command
            .args(["unshare", "--mount", "--propagation", "private", "sh", "-c"])
            .args(["mount --bind \"$HOME\" /root && exec \"$@\"", "sh"])
            .args(argv)
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home);
        see(command)
    }

    fn argv<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        let program = self.path("kvmctl").display().to_string();
        let mut argv: Vec<&str> = vec![String::leak(program)];
        argv.extend(args);
        argv
    }

    fn enter(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["900", "nsenter", "--target", &self.inner])
            .args(namespaces)
            .arg("--")
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("LANG", "C.UTF-8");
        command
    }

    /// Ends the system daemon, as an administrator would; its sockets stay, as after a crash.
    pub(super) fn stop_libvirtd(&self) {
        let line = "kill -KILL $(cat /run/libvirtd.pid) && sleep 0.3";
        self.run(Who::Root, &["sh", "-c", line]).ok();
    }

    /// Returns what of guests there is in a pool's folder: disks, seeds, logs.
    pub(super) fn guest_files(&self, folder: &str) -> Vec<String> {
        let files = std::fs::read_dir(self.path(folder)).unwrap();
        let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
        names.filter(|n| !n.starts_with("kvmctl-image-")).collect()
    }
}

impl Drop for PrivateHost {
    fn drop(&mut self) {
        // The host ends when nobody holds its stdin any more.
        drop(self.outer.stdin.take());
        let _ = self.outer.wait();
    }
}

fn images() -> PathBuf {
    let dir = std::env::var_os("KVMCTL_TEST_IMAGES");
    PathBuf::from(dir.expect("KVMCTL_TEST_IMAGES names the folder of the test images"))
}

/// What a program printed and how it ended.
pub(super) struct Seen {
    /// Exit code.
    pub(super) code: i32,
    /// Standard output.
    pub(super) out: String,
    /// Standard error.
    pub(super) err: String,
    line: String,
}

fn see(mut command: Command) -> Seen {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Seen {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
        line: format!("{command:?}"),
    }
}

impl Seen {
    /// Holds it to an exit code.
    #[track_caller]
    pub(super) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}\n{}", self.line, self.out, self.err);
        self
    }

    /// Holds it to success.
    #[track_caller]
    pub(super) fn ok(self) -> Self {
        self.code(0)
    }

    /// Holds its stdout to a part.
    #[track_caller]
    pub(super) fn prints(self, part: &str) -> Self {
        assert!(
            self.out.contains(part),
            "{}\nno {part:?}: {}\n{}",
            self.line,
            self.out,
            self.err
        );
        self
    }

    /// Holds its stderr to a part.
    #[track_caller]
    pub(super) fn says(self, part: &str) -> Self {
        assert!(
            self.err.contains(part),
            "{}\nno {part:?}: {}\n{}",
            self.line,
            self.err,
            self.out
        );
        self
    }

    /// Holds its stderr to be without a part.
    #[track_caller]
    pub(super) fn never_says(self, part: &str) -> Self {
        assert!(
            !self.err.contains(part),
            "{}\n{part:?}: {}",
            self.line,
            self.err
        );
        self
    }
}
