//! Units of systemd that run a command at boot (systemd.unit(5), systemd.service(5)).

use std::io::Write;
use std::path::{Path, PathBuf};

use super::command::Tool;
use super::error::HostError;
use crate::shell::shell_words;

/// Whose systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The host's: units are root's.
    System,
    /// A user's own, whose configuration is in this directory.
    User(PathBuf),
}

/// How long the command of a unit runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// Until it has done what is to be done; again when a daemon has started again.
    Once,
    /// Until it is told to end.
    Always,
}

/// What a unit runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootUnit {
    /// What it is for, in a line.
    pub description: String,
    /// Absolute path and arguments.
    pub argv: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Whose systemd.
    pub scope: Scope,
    /// How long.
    pub runs: Runs,
}

/// Daemons without which the command can do nothing, and programs that take rules away when they
/// start. A unit that is not there is passed over.
const AFTER: &str = "libvirtd.service virtqemud.service virtnetworkd.service virtstoraged.service \
                     network.target firewalld.service nftables.service netfilter-persistent.service \
                     ufw.service docker.service";
/// With these it starts, also when they are restarted and have put their own rules first again.
const STARTED_BY: &str = "multi-user.target libvirtd.service virtnetworkd.service";
/// What goes on is there already when a daemon is restarted.
const BOOT: &str = "multi-user.target";
/// The nginx of the balancers goes on when the command that started it has ended.
const ONCE: &str = "Type=oneshot\nKillMode=process\n";
/// Told to end, the command says so with its exit code.
const ALWAYS: &str =
    "Type=simple\nKillMode=process\nRestart=always\nRestartSec=10\nSuccessExitStatus=143\n";

impl BootUnit {
    /// Writes the file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Made by `kvmctl setup --persist`; `kvmctl setup --no-persist` takes it away.\n\
             [Unit]\nDescription={}\n",
            percent(&self.description)
        );
        if self.scope == Scope::System {
            text.push_str(&format!("After={AFTER}\n"));
        }
        text.push_str("\n[Service]\n");
        text.push_str(match self.runs {
            Runs::Once => ONCE,
            Runs::Always => ALWAYS,
        });
        for (name, value) in &self.environment {
            text.push_str(&format!(
                "Environment={}\n",
                quoted(&format!("{name}={value}"))
            ));
        }
        let argv: Vec<String> = self
            .argv
            .iter()
            .map(|a| quoted(&a.replace('$', "$$")))
            .collect();
        text.push_str(&format!("ExecStart={}\n\n[Install]\n", argv.join(" ")));
        let by = match (&self.scope, self.runs) {
            (Scope::System, Runs::Once) => STARTED_BY,
            (Scope::System, Runs::Always) => BOOT,
            (Scope::User(_), _) => "default.target",
        };
        text.push_str(&format!("WantedBy={by}\n"));
        text
    }
}

impl BootUnit {
    /// Returns the line that a shell would run to the same effect.
    pub fn command_line(&self) -> String {
        let variables = self.environment.iter();
        let mut words = vec!["env".to_owned()];
        words.extend(variables.map(|(name, value)| format!("{name}={value}")));
        words.extend(self.argv.iter().cloned());
        shell_words(&words)
    }
}

fn percent(text: &str) -> String {
    text.replace('%', "%%").replace(['\n', '\r'], " ")
}

/// Quotes a word as systemd reads it; `%` would begin a specifier.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c) & 0xff)),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Returns a text as part of a unit's name: what may not stand there is written as its bytes.
pub fn name_part(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':');
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'-' => name.push('-'),
            b if plain(b) => name.push(char::from(b)),
            b => name.push_str(&format!("\\x{b:02x}")),
        }
    }
    name
}

/// The units of a systemd.
#[derive(Debug, Clone)]
pub struct Systemd {
    scope: Scope,
}

impl Systemd {
    /// Returns the systemd that runs here; none where another program is the first process.
    pub fn running(scope: &Scope) -> Option<Self> {
        // As sd_booted(3) has it.
        Path::new("/run/systemd/system").is_dir().then(|| Self {
            scope: scope.clone(),
        })
    }

    /// Returns where a unit is kept.
    pub fn path(scope: &Scope, name: &str) -> PathBuf {
        let folder = match scope {
            Scope::System => PathBuf::from("/etc/systemd/system"),
            Scope::User(config) => config.join("systemd/user"),
        };
        folder.join(name)
    }

    /// Writes a unit and lets it start with the host.
    ///
    /// # Errors
    /// [`HostError`]: what the file system or systemctl says.
    pub fn install(&self, name: &str, text: &str) -> Result<(), HostError> {
        write(&Self::path(&self.scope, name), text).map_err(io_error)?;
        self.ctl(&["daemon-reload"])?;
        // Links of an earlier form of the unit would stay.
        self.ctl(&["reenable", name])
    }

    /// Returns whether a unit comes with the host, and runs now if it is to run always. A run that was
    /// killed may have written no more than its file.
    pub fn is_set(&self, name: &str, runs: Runs) -> bool {
        let asked: &[&str] = match runs {
            Runs::Once => &["is-enabled"],
            Runs::Always => &["is-enabled", "is-active"],
        };
        let is = |verb: &&str| self.ctl(&[verb, "--quiet", name]).is_ok();
        asked.iter().all(is)
    }

    /// Starts a unit, or starts it again in its present form.
    ///
    /// # Errors
    /// [`HostError`]: what systemctl says.
    pub fn restart(&self, name: &str) -> Result<(), HostError> {
        self.ctl(&["restart", name])
    }

    /// Ends a unit and takes it away; one that is not there is fine.
    ///
    /// # Errors
    /// As [`Systemd::install`].
    pub fn remove(&self, name: &str) -> Result<(), HostError> {
        let path = Self::path(&self.scope, name);
        if !path.exists() {
            return Ok(());
        }
        self.ctl(&["disable", "--now", name])?;
        std::fs::remove_file(path).map_err(io_error)?;
        self.ctl(&["daemon-reload"])
    }

    fn ctl(&self, args: &[&str]) -> Result<(), HostError> {
        let mut all = match self.scope {
            Scope::System => Vec::new(),
            Scope::User(_) => vec!["--user"],
        };
        all.extend(args);
        Tool::find(&["systemctl"], "systemd")?
            .run(&all, b"", None)
            .map(drop)
    }
}

/// Whole or not at all: systemd may read it at any moment.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

fn io_error(source: std::io::Error) -> HostError {
    HostError::Spawn {
        program: "systemctl".to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(argument: &str, scope: Scope, runs: Runs) -> BootUnit {
        BootUnit {
            description: "100% of kvmctl".to_owned(),
            // It must exist for systemd-analyze.
            argv: vec!["/bin/true".to_owned(), argument.to_owned()],
            environment: vec![("HOME".to_owned(), "/a b/\"c\"/$d/%n".to_owned())],
            scope,
            runs,
        }
    }

    #[test]
    fn hostile_words_stay_words() {
        let text = unit(
            "a\"b\\c $HOME %n\nExecStart=/bin/evil",
            Scope::System,
            Runs::Once,
        )
        .text();
        assert!(
            text.contains(r#"ExecStart="/bin/true" "a\"b\\c $$HOME %%n\x0aExecStart=/bin/evil""#),
            "{text}"
        );
        assert!(
            text.contains(r#"Environment="HOME=/a b/\"c\"/$d/%%n""#),
            "{text}"
        );
        assert!(text.contains("Description=100%% of"), "{text}");
        assert_eq!(name_part("my kvm/1"), "my\\x20kvm\\x2f1");
    }

    #[test]
    fn it_comes_after_libvirt_and_with_it() {
        let text = unit("x", Scope::System, Runs::Once).text();
        let line = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name));
            line.unwrap_or_default().to_owned()
        };
        for daemon in ["libvirtd.service", "virtnetworkd.service"] {
            assert!(line("After=").contains(daemon) && line("WantedBy=").contains(daemon));
        }
    }

    /// systemd's own word, where it is installed.
    #[test]
    fn systemd_understands_it() {
        let Ok(analyze) = Tool::find(&["systemd-analyze"], "systemd") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        // A user's systemd does not run here; its units read alike.
        for (name, scope, runs) in [
            ("kvmctl-reconcile.service", Scope::System, Runs::Once),
            ("kvmctl-watch.service", Scope::System, Runs::Always),
            (
                "kvmctl-watch-my\\x20kvm.service",
                Scope::User(dir.path().to_owned()),
                Runs::Always,
            ),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, unit("it's \"x\" $y %z", scope, runs).text()).unwrap();
            let path = path.display().to_string();
            let args = ["verify", "--man=no", path.as_str()];
            let (status, output) = analyze.run_any(&args, b"", None).unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let ours: Vec<&str> = said.lines().filter(|l| l.contains("kvmctl")).collect();
            assert!(status.success() && ours.is_empty(), "{said}");
        }
    }
}
