//! A home of its own for each test, and the program run in it.

mod output;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub(crate) use output::CommandOutput;
pub(crate) use sweep::Sweep;

/// Where the program lives while one test runs: nothing of the caller's environment gets in.
pub(crate) struct Env {
    home: TempDir,
    vars: Vec<(String, String)>,
}

impl Env {
    /// Makes one with its own contexts and store, on a libvirt.
    pub(crate) fn new(uri: &str) -> Self {
        let env = Self::bare();
        let store = env.path("store").display().to_string();
        env.with("KVMCTL_URI", uri).with("KVMCTL_STORE", &store)
    }

    /// Makes one that has only a home: URI and store are what the program chooses.
    pub(crate) fn bare() -> Self {
        let home = tempfile::Builder::new()
            .prefix("kvmctl-test-")
            .tempdir()
            .unwrap();
        Self {
            home,
            vars: Vec::new(),
        }
    }

    /// Sets a variable of the environment.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns a path in the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file into the home.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs kvmctl for at most twenty minutes.
    pub(crate) fn kvmctl<S: AsRef<str>>(&self, args: impl AsRef<[S]>) -> CommandOutput {
        let args: Vec<&str> = args.as_ref().iter().map(AsRef::as_ref).collect();
        self.run(env!("CARGO_BIN_EXE_kvmctl"), &args)
    }

    /// Runs any program in this environment.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> CommandOutput {
        let output = self.command(program, args).output().unwrap();
        CommandOutput::new(program, args, &output)
    }

    /// Builds a command line in this environment that ends by itself.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=10", "1200", program])
            .args(args)
            .stdin(Stdio::null());
        self.furnish(&mut command);
        command
    }

    /// Builds kvmctl's own command line in this environment, for whoever sends it signals.
    pub(crate) fn direct(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvmctl"));
        command.args(args).stdin(Stdio::null());
        self.furnish(&mut command);
        command
    }

    /// Runs a shell line on a terminal of its own; what is expected there must come within `seconds`.
    pub(crate) fn terminal(&self, line: &str, seconds: u64) -> rexpect::session::PtySession {
        let mut command = Command::new("bash");
        command.args(["-c", line]);
        self.furnish(&mut command);
        let program = Path::new(env!("CARGO_BIN_EXE_kvmctl"));
        let folder = program.parent().unwrap().display();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{folder}:{path}"));
        rexpect::session::spawn_command(command, Some(seconds * 1000)).unwrap()
    }

    fn furnish(&self, command: &mut Command) {
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", self.home.path())
            .env("KVMCTL_CONFIG", self.path("config.yaml"))
            .envs(self.vars.iter().map(|(n, v)| (n, v)));
    }
}

/// Returns the root of the source tree.
pub(crate) fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
