//! Into the guest: keys, ssh, exec, cp, console, logs, seed.

use std::path::Path;
use std::time::Duration;

use crate::api::{ObjectKey, Reporter};
use crate::cloudinit::{HostKey, iso_read};
use crate::error::{Error, Result};
use crate::host::{Ssh, SshTarget, Terminal};
use crate::libvirt::{ConsoleStream, Domain, GuestPath, Volume};
use crate::observe::World;
use crate::store::InstanceRecord;

/// Our own SSH key, one a store, made at the first use.
const KEY_FILE: &str = "id_ed25519";
const PUBLIC_KEY_FILE: &str = "id_ed25519.pub";

/// Returns our own key.
///
/// # Errors
/// If the store cannot be written.
pub fn own_key(world: &World) -> Result<HostKey> {
    let store = world.store()?;
    let known = |store: &crate::store::Store| -> Result<Option<HostKey>> {
        let private = store
            .ssh_file(KEY_FILE)?
            .and_then(|b| String::from_utf8(b).ok());
        let public = store
            .ssh_file(PUBLIC_KEY_FILE)?
            .and_then(|b| String::from_utf8(b).ok());
        Ok(match (private, public) {
            (Some(private), Some(public)) => Some(HostKey {
                private,
                public: public.trim().to_owned(),
            }),
            _ => None,
        })
    };
    if let Some(key) = known(store)? {
        return Ok(key);
    }
    let _lock = store.lock(crate::store::STORE_WAIT)?;
    if let Some(key) = known(store)? {
        return Ok(key);
    }
    let key = HostKey::generate()?;
    store.put_ssh_file(KEY_FILE, key.private.as_bytes())?;
    store.put_ssh_file(
        PUBLIC_KEY_FILE,
        format!("{} kvmctl\n", key.public).as_bytes(),
    )?;
    Ok(key)
}

/// Which way into a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The agent where it answers, ssh elsewhere.
    Auto,
    /// The agent.
    Agent,
    /// ssh.
    Ssh,
}

/// What a command in a guest came to.
#[derive(Debug, Clone)]
pub struct ExecResult {
    /// Its exit code.
    pub code: u8,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

fn running(world: &World, key: &ObjectKey) -> Result<Domain> {
    let domain = super::instances::find(world, key)?;
    if domain.state()?.is_active() {
        Ok(domain)
    } else {
        Err(Error::conflict(format!("{key} is not running"))
            .hint(format!("kvmctl instances start {}", key.name)))
    }
}

/// Runs a command in a guest.
///
/// # Errors
/// A conflict when the guest is off; what the way into it refuses.
pub fn exec(
    world: &World,
    key: &ObjectKey,
    via: Via,
    argv: &[String],
    input: &[u8],
    timeout: Duration,
) -> Result<ExecResult> {
    let domain = running(world, key)?;
    let agent = match via {
        Via::Agent => true,
        Via::Ssh => false,
        Via::Auto => domain.agent_answers(),
    };
    if agent {
        let done = domain.agent_exec(argv, input, timeout)?;
        return Ok(ExecResult {
            code: done.code,
            stdout: done.stdout,
            stderr: done.stderr,
        });
    }
    let (ssh, target) = ssh_to(world, key, None)?;
    let out = ssh.run(&target, argv, input, timeout)?;
    Ok(ExecResult {
        code: out.code,
        stdout: out.stdout,
        stderr: out.stderr,
    })
}

/// Logs in, or runs one command with the caller's terminal, and returns the exit code.
///
/// # Errors
/// A conflict when the guest is off or has no address.
pub fn ssh(world: &World, key: &ObjectKey, user: Option<&str>, command: &[String]) -> Result<u8> {
    running(world, key)?;
    let (ssh, target) = ssh_to(world, key, user)?;
    Ok(ssh.interactive(&target, command)?)
}

fn ssh_to(world: &World, key: &ObjectKey, user: Option<&str>) -> Result<(Ssh, SshTarget)> {
    let domain = super::instances::find(world, key)?;
    let record = world
        .store_for_reading()?
        .get::<InstanceRecord>(&domain.uid())?;
    let instance = world.instance(&key.name)?;
    let address = instance
        .status
        .and_then(|s| s.address)
        .ok_or_else(|| no_address(key, record.as_ref()))?;
    let ours = own_key(world)?;
    let user = user
        .map(str::to_owned)
        .or_else(|| record.as_ref().and_then(|r| r.ssh_user.clone()))
        .unwrap_or_else(|| "root".to_owned());
    let target = SshTarget {
        address: address.into(),
        user,
        private_key: ours.private,
        host_key: record.and_then(|r| r.ssh_host_key),
        jump: jump(world.host()?.uri()),
    };
    Ok((Ssh::find()?, target))
}

fn no_address(key: &ObjectKey, record: Option<&InstanceRecord>) -> Error {
    let user_mode = |r: &InstanceRecord| {
        let mut nics = r.nics.iter();
        nics.any(|n| n.network == super::instances::USER_NETWORK)
    };
    let error = Error::conflict(format!("{key} has no address that ssh could use"));
    let error = match record.is_some_and(user_mode) {
        true => error
            .caused_by("it is in QEMU's user-mode network, which nothing reaches from outside")
            .hint(format!("kvmctl exec {} -- COMMAND", key.name)),
        false => error,
    };
    error.hint(format!("kvmctl console {}", key.name))
}

/// Guests of a remote host are reached through it.
fn jump(uri: &str) -> Option<String> {
    let rest = uri.split_once("+ssh://")?.1;
    let host = rest.split(['/', '?']).next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

/// Copies a file into a guest.
///
/// # Errors
/// What reading, the agent or ssh refuses.
pub fn copy_in(
    world: &World,
    key: &ObjectKey,
    from: &Path,
    to: &str,
    reporter: &dyn Reporter,
) -> Result<()> {
    let domain = running(world, key)?;
    let bytes = std::fs::read(from)
        .map_err(|e| Error::usage(format!("cannot read {}", from.display())).caused_by(e))?;
    let total = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if domain.agent_answers() {
        let handle = domain.agent_open(&GuestPath(to.to_owned()), "w")?;
        let mut done = 0;
        for piece in bytes.chunks(1 << 20) {
            super::signal::interrupted()?;
            domain.agent_write(handle, piece)?;
            done += u64::try_from(piece.len()).unwrap_or(0);
            reporter.progress(
                key,
                &format!("copying {}", from.display()),
                done,
                Some(total),
            );
        }
        domain.agent_close(handle)?;
        reporter.finished(key);
        return Ok(());
    }
    let script = [
        "sh".to_owned(),
        "-c".to_owned(),
        "cat > \"$1\"".to_owned(),
        "sh".to_owned(),
        to.to_owned(),
    ];
    let result = exec(
        world,
        key,
        Via::Ssh,
        &script,
        &bytes,
        Duration::from_secs(3600),
    )?;
    check(result).map(drop)
}

/// Copies a file out of a guest.
///
/// # Errors
/// What writing, the agent or ssh refuses.
pub fn copy_out(
    world: &World,
    key: &ObjectKey,
    from: &str,
    to: &Path,
    reporter: &dyn Reporter,
) -> Result<()> {
    let domain = running(world, key)?;
    let to = match to.is_dir() {
        true => to.join(Path::new(from).file_name().unwrap_or_default()),
        false => to.to_owned(),
    };
    let mut bytes = Vec::new();
    if domain.agent_answers() {
        let handle = domain.agent_open(&GuestPath(from.to_owned()), "r")?;
        loop {
            super::signal::interrupted()?;
            let piece = domain.agent_read(handle)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
            let done = u64::try_from(bytes.len()).unwrap_or(0);
            reporter.progress(key, &format!("copying {from}"), done, None);
        }
        domain.agent_close(handle)?;
        reporter.finished(key);
    } else {
        let argv = ["cat".to_owned(), "--".to_owned(), from.to_owned()];
        bytes = check(exec(
            world,
            key,
            Via::Ssh,
            &argv,
            &[],
            Duration::from_secs(3600),
        )?)?;
    }
    std::fs::write(&to, bytes)
        .map_err(|e| Error::failed(format!("cannot write {}", to.display())).caused_by(e))
}

fn check(result: ExecResult) -> Result<Vec<u8>> {
    if result.code == 0 {
        return Ok(result.stdout);
    }
    let why = String::from_utf8_lossy(&result.stderr).trim().to_owned();
    Err(Error::failed(format!(
        "the guest refused the copy (exit code {})",
        result.code
    ))
    .caused_by(why))
}

/// A console that is open.
#[derive(Debug)]
pub struct Console {
    stream: ConsoleStream,
}

/// Opens the serial console.
///
/// # Errors
/// A conflict when the guest is off or somebody else has the console.
pub fn open_console(world: &World, key: &ObjectKey, force: bool) -> Result<Console> {
    let domain = running(world, key)?;
    let stream = domain
        .open_console(world.host()?, force)
        .map_err(|e| Error::from(e).hint(format!("kvmctl console {} --force", key.name)))?;
    Ok(Console { stream })
}

impl Console {
    /// Connects the caller's terminal until Ctrl-] or the console's end.
    ///
    /// # Errors
    /// When there is no terminal or the connection breaks.
    pub fn run(self) -> Result<()> {
        // Kept here and not by the thread: it must be put back also when the guest ends first.
        let _terminal = Terminal::raw()
            .map_err(|e| Error::usage("the console needs a terminal").caused_by(e))?;
        let input = self.stream.clone();
        std::thread::spawn(move || {
            // A broken pipe is no news: the other direction ends too.
            let _ = Terminal::read_until_escape(|bytes| input.send(bytes).is_ok());
            input.close();
        });
        Terminal::copy_out(|| self.stream.receive().ok().filter(|b| !b.is_empty()))
            .map_err(|e| Error::failed("the console broke").caused_by(e))
    }
}

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// What the guest wrote to its serial console.
    Serial,
    /// cloud-init's output, inside the guest.
    CloudInit,
    /// QEMU's own.
    Qemu,
}

/// A log that is read piece by piece.
#[derive(Debug)]
pub struct Log {
    first: Option<Vec<u8>>,
    follow: Option<(Volume, u64)>,
}

/// Opens a log.
///
/// # Errors
/// `NotFound` where there is none; a conflict where only the running guest could tell.
pub fn open_log(
    world: &World,
    key: &ObjectKey,
    source: LogSource,
    tail: Option<usize>,
) -> Result<Log> {
    let (bytes, follow) = match source {
        LogSource::Serial => {
            let volume = serial_volume(world, key)?;
            let mut bytes = Vec::new();
            volume.download(&mut bytes, 0, 0)?;
            let at = u64::try_from(bytes.len()).unwrap_or(0);
            (bytes, Some((volume, at)))
        }
        LogSource::CloudInit => {
            let argv = [
                "cat".to_owned(),
                "/var/log/cloud-init-output.log".to_owned(),
            ];
            let result = exec(world, key, Via::Auto, &argv, &[], Duration::from_secs(60))?;
            (check(result)?, None)
        }
        LogSource::Qemu => (qemu_log(world, key)?, None),
    };
    Ok(Log {
        first: Some(last_lines(bytes, tail)),
        follow,
    })
}

impl Log {
    /// Returns the next piece; `None` at the end, which never comes when following.
    ///
    /// # Errors
    /// When the log goes away.
    pub fn next(&mut self, follow: bool) -> Result<Option<Vec<u8>>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some((volume, at)) = self.follow.as_mut().filter(|_| follow) else {
            return Ok(None);
        };
        loop {
            // A file has no event that libvirt would hand on.
            std::thread::sleep(Duration::from_millis(300));
            let mut bytes = Vec::new();
            volume.download(&mut bytes, *at, 0)?;
            if !bytes.is_empty() {
                *at += u64::try_from(bytes.len()).unwrap_or(0);
                return Ok(Some(bytes));
            }
        }
    }
}

fn last_lines(bytes: Vec<u8>, tail: Option<usize>) -> Vec<u8> {
    let Some(wanted) = tail else { return bytes };
    let end = bytes
        .len()
        .saturating_sub(usize::from(bytes.last() == Some(&b'\n')));
    let mut seen = 0;
    for at in (0..end).rev() {
        if bytes[at] == b'\n' {
            seen += 1;
            if seen == wanted {
                return bytes[at + 1..].to_vec();
            }
        }
    }
    if wanted == 0 { Vec::new() } else { bytes }
}

/// Returns the end of the serial log, at most `limit` bytes; nothing where there is none.
///
/// # Errors
/// What libvirt refuses.
pub(super) fn serial_log(world: &World, key: &ObjectKey, limit: usize) -> Result<Vec<u8>> {
    let Ok(volume) = serial_volume(world, key) else {
        return Ok(Vec::new());
    };
    let mut bytes = Vec::new();
    volume.download(&mut bytes, 0, 0)?;
    let from = bytes.len().saturating_sub(limit);
    Ok(bytes.split_off(from))
}

fn serial_volume(world: &World, key: &ObjectKey) -> Result<Volume> {
    let domain = super::instances::find(world, key)?;
    let none = || {
        Error::not_found(format!("{key} has no serial log"))
            .hint(format!("kvmctl console {}", key.name))
    };
    let definition = domain.definition()?;
    let path = definition.serial_log().ok_or_else(none)?;
    world
        .host()?
        .volume_by_path(path)
        .map_err(|e| if e.is_not_found() { none() } else { e.into() })
}

fn qemu_log(world: &World, key: &ObjectKey) -> Result<Vec<u8>> {
    let host = world.host()?;
    if !host.is_local() {
        return Err(
            Error::failed("QEMU's log is a file of the host, which is remote")
                .hint("log in to the host and read /var/log/libvirt/qemu"),
        );
    }
    let dir = if host.is_session() {
        world
            .paths()
            .cache_dir()
            .with_file_name("libvirt")
            .join("qemu/log")
    } else {
        std::path::PathBuf::from("/var/log/libvirt/qemu")
    };
    let path = dir.join(format!("{}.log", key.name));
    std::fs::read(&path).map_err(|e| {
        Error::failed(format!("cannot read {}", path.display()))
            .caused_by(e)
            .hint("only root may read QEMU's log of the system daemon")
    })
}

/// Reads the seed back from its ISO, and masks what is secret.
///
/// # Errors
/// `NotFound` where the instance has no seed.
pub fn seed(world: &World, key: &ObjectKey) -> Result<Vec<(String, String)>> {
    let domain = super::instances::find(world, key)?;
    let definition = domain.definition()?;
    let path = definition.cdrom().and_then(|d| d.path()).map(str::to_owned);
    let path = path.ok_or_else(|| Error::not_found(format!("{key} has no seed")))?;
    let mut image = Vec::new();
    world
        .host()?
        .volume_by_path(&path)?
        .download(&mut image, 0, 0)?;
    let medium = iso_read::read(&image)?;
    let seed = crate::cloudinit::Seed {
        files: medium.files,
    };
    Ok(vec![(path, seed.masked())])
}
