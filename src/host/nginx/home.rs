//! The directory of one context's balancers.
//!
//! ```text
//! <store>-balancers/        what nginx runs in, beside the store
//!   live -> conf.1a2b…      the configuration in force; changes as a whole, by a rename
//!   conf.1a2b…/nginx.conf   a generation, named after the hash of what is in it
//!   conf.1a2b…/sites/       one file for each balancer
//!   run/ logs/ tmp/ lock
//! ```
//!
//! What is tested is what comes into force: a generation is written once, tested where it lies, and
//! only then does the link name it. Files that do not change are the same files in both.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, FlockOperation};

use super::error::NginxError;
use crate::host::render::nginx::{MAIN_FILE, SITES, Site};

/// The link to the generation in force.
const LIVE: &str = "live";
const GENERATION: &str = "conf.";
const NEXT_LIVE: &str = "live.new";
const LOCK: &str = "lock";
const LOCK_WAIT: Duration = Duration::from_secs(120);
/// Workers, which are nobody, pass through but do not read.
const PASS: u32 = 0o711;
const OURS: u32 = 0o700;
const FOLDERS: [(&str, u32); 3] = [("run", OURS), ("logs", PASS), ("tmp", PASS)];

/// The directory, whether it is there or not.
#[derive(Debug, Clone)]
pub(super) struct Home(PathBuf);

/// Held while one change is made.
#[derive(Debug)]
#[must_use = "the lock is let go when this is dropped"]
pub(super) struct Locked(#[expect(dead_code, reason = "closing it lets go")] File);

/// A generation on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation(String);

impl Generation {
    /// Makes the name of the generation whose hash this is.
    pub(super) fn of(hash: &[u8; 32]) -> Self {
        let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self(format!("{GENERATION}{hex}"))
    }

    /// Returns its main file, relative to the home.
    pub(super) fn main_file(&self) -> String {
        format!("{}/{MAIN_FILE}", self.0)
    }
}

impl Home {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the main file in force, relative to the home.
    pub(super) fn live_main_file() -> String {
        format!("{LIVE}/{MAIN_FILE}")
    }

    /// Locks the directory against other changes, and makes it first.
    pub(super) fn lock(&self) -> Result<Locked, NginxError> {
        let begin = Instant::now();
        loop {
            match self.prepare() {
                Err(NginxError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && begin.elapsed() < LOCK_WAIT =>
                {
                    continue;
                }
                result => result?,
            }
            let path = self.0.join(LOCK);
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path);
            let file = match file {
                Ok(file) => file,
                // Whoever held it has just removed all of it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(NginxError::io("write", path, e)),
            };
            while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                if begin.elapsed() > LOCK_WAIT {
                    return Err(NginxError::Busy);
                }
                thread::sleep(Duration::from_millis(5));
            }
            let held = file
                .metadata()
                .map_err(|e| NginxError::io("read", &path, e))?;
            if fs::metadata(&path).is_ok_and(|now| now.ino() == held.ino()) {
                return Ok(Locked(file));
            }
        }
    }

    fn prepare(&self) -> Result<(), NginxError> {
        let parent = self.0.parent().unwrap_or(Path::new("/"));
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder
            .create(parent)
            .map_err(|e| NginxError::io("make", parent, e))?;
        make(&self.0, PASS)?;
        self.check()?;
        for (name, mode) in FOLDERS {
            make(&self.0.join(name), mode)?;
        }
        Ok(())
    }

    /// A directory that somebody else made is not where a root process takes its files from.
    fn check(&self) -> Result<(), NginxError> {
        let found = fs::symlink_metadata(&self.0);
        let found = found.map_err(|e| NginxError::io("read", &self.0, e))?;
        if !found.is_dir() {
            return Err(self.not("is not a directory"));
        }
        let me = rustix::process::geteuid().as_raw();
        if found.uid() != me {
            return Err(if me == 0 {
                self.not("belongs to another user")
            } else {
                NginxError::OtherUser
            });
        }
        if found.mode() & 0o022 != 0 {
            return Err(self.not("can be written by others"));
        }
        Ok(())
    }

    /// Makes sure that the caller may make it, and change what is in it.
    pub(super) fn may_change(&self) -> Result<(), NginxError> {
        match self.check() {
            Err(NginxError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let above = self.0.ancestors().skip(1).find(|path| path.exists());
                let above = above.unwrap_or(Path::new("/"));
                rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK)
                    .map_err(|_| NginxError::Roots(self.0.clone()))
            }
            result => result,
        }
    }

    fn not(&self, what: &'static str) -> NginxError {
        NginxError::Unsafe {
            path: self.0.clone(),
            what,
        }
    }

    /// Returns the generation in force.
    pub(super) fn live(&self) -> Option<Generation> {
        let to = fs::read_link(self.0.join(LIVE)).ok()?;
        let name = to.to_str()?;
        let hex = name.strip_prefix(GENERATION)?;
        let plain = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        (plain && self.0.join(name).is_dir()).then(|| Generation(name.to_owned()))
    }

    /// Reads the balancers' files in force, in the order of their names.
    pub(super) fn sites(&self) -> Result<Vec<Site>, NginxError> {
        let Some(live) = self.live() else {
            return Ok(Vec::new());
        };
        let folder = self.0.join(live.0).join(SITES);
        let entries = fs::read_dir(&folder).map_err(|e| NginxError::io("read", &folder, e))?;
        let mut sites = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|e| NginxError::io("read", &folder, e))?
                .path();
            let text = fs::read_to_string(&path).map_err(|e| NginxError::io("read", &path, e))?;
            sites.extend(Site::read(text));
        }
        sites.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(sites)
    }

    /// Returns whether a balancer's file in force is this one.
    pub(super) fn has(&self, site: &Site) -> bool {
        let file = self.0.join(LIVE).join(SITES).join(&site.file);
        fs::read(file).is_ok_and(|text| text == site.text.as_bytes())
    }

    /// Returns whether it is there and the caller may not look into it.
    pub(super) fn is_of_another(&self) -> bool {
        let me = rustix::process::geteuid();
        !me.is_root() && fs::symlink_metadata(&self.0).is_ok_and(|m| m.uid() != me.as_raw())
    }

    /// Writes a generation; one of the same name that a killed run left half made is replaced.
    pub(super) fn stage(
        &self,
        generation: &Generation,
        main: &str,
        sites: &[&Site],
    ) -> Result<(), NginxError> {
        let folder = self.0.join(&generation.0);
        self.discard(generation)?;
        make(&folder, OURS)?;
        let there = folder.join(SITES);
        make(&there, OURS)?;
        let before = self.live().map(|live| self.0.join(live.0).join(SITES));
        for site in sites {
            let path = there.join(&site.file);
            let old = before.as_ref().map(|folder| folder.join(&site.file));
            let same = old.filter(|old| fs::read(old).is_ok_and(|t| t == site.text.as_bytes()));
            if same.is_some_and(|old| fs::hard_link(old, &path).is_ok()) {
                continue;
            }
            write(&path, &site.text)?;
        }
        write(&folder.join(MAIN_FILE), main)?;
        sync(&there)?;
        sync(&folder)
    }

    /// Puts a generation into force for whoever reads the configuration next.
    pub(super) fn swap(&self, to: &Generation) -> Result<(), NginxError> {
        let (next, live) = (self.0.join(NEXT_LIVE), self.0.join(LIVE));
        remove(&next)?;
        std::os::unix::fs::symlink(&to.0, &next).map_err(|e| NginxError::io("make", &next, e))?;
        fs::rename(&next, &live).map_err(|e| NginxError::io("replace", &live, e))?;
        sync(&self.0)
    }

    /// Lets no generation be in force.
    pub(super) fn unset(&self) -> Result<(), NginxError> {
        remove(&self.0.join(LIVE))?;
        sync(&self.0)
    }

    /// Removes a generation.
    pub(super) fn discard(&self, generation: &Generation) -> Result<(), NginxError> {
        remove_all(&self.0.join(&generation.0))
    }

    /// Removes every generation but the one in force, and the logs of balancers that are gone.
    pub(super) fn sweep(&self, sites: &[&Site]) -> Result<(), NginxError> {
        let live = self.live().map(|g| g.0);
        for name in names(&self.0)? {
            if name.starts_with(GENERATION) && live.as_deref() != Some(&name) {
                remove_all(&self.0.join(name))?;
            }
        }
        remove(&self.0.join(NEXT_LIVE))?;
        let logs = self.0.join("logs");
        let kept: Vec<String> = sites.iter().map(|s| s.uid.to_string()).collect();
        for name in names(&logs)? {
            let is_count = name.ends_with(".gz") || name.ends_with(".json");
            let whose = name.split('.').next().unwrap_or_default();
            if is_count && !kept.iter().any(|uid| uid == whose) {
                remove(&logs.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes all of it. The lock goes last, and whoever waits for it sees that it is gone.
    pub(super) fn remove(&self) -> Result<(), NginxError> {
        for name in names(&self.0)? {
            if name != LOCK {
                remove_all(&self.0.join(name))?;
            }
        }
        remove(&self.0.join(LOCK))?;
        match fs::remove_dir(&self.0) {
            // The next one is there already, or it is a file system of its own.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
                ) =>
            {
                Ok(())
            }
            result => gone(result, &self.0),
        }
    }

    /// Removes the socket that a master which was killed left behind: nobody can bind it anew.
    pub(super) fn remove_stale_socket(&self) -> Result<(), NginxError> {
        remove(&self.0.join(crate::host::render::nginx::CONTROL_SOCKET))
    }

    /// Keeps the log of errors from growing for ever. nginx appends, so that it goes on at the start.
    pub(super) fn trim_error_log(&self) {
        const MOST: u64 = 1 << 20;
        let path = self.error_log();
        if fs::metadata(&path).is_ok_and(|m| m.len() > MOST) {
            // It is only a log.
            let _ = OpenOptions::new().write(true).truncate(true).open(path);
        }
    }

    pub(super) fn error_log(&self) -> PathBuf {
        self.0.join(crate::host::render::nginx::ERROR_LOG)
    }
}

fn names(folder: &Path) -> Result<Vec<String>, NginxError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(NginxError::io("read", folder, e)),
    };
    let names = entries.flatten().map(|e| e.file_name());
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}

fn make(path: &Path, mode: u32) -> Result<(), NginxError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(NginxError::io("make", path, e));
        }
        _ => {}
    }
    // The caller's umask may have taken something away.
    let wanted = std::os::unix::fs::PermissionsExt::from_mode(mode);
    let found = fs::symlink_metadata(path).map_err(|e| NginxError::io("read", path, e))?;
    let mine = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && mine && found.mode() & 0o777 != mode && found.mode() & 0o022 == 0 {
        fs::set_permissions(path, wanted).map_err(|e| NginxError::io("change", path, e))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), NginxError> {
    let failed = |e| NginxError::io("write", path, e);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn sync(folder: &Path) -> Result<(), NginxError> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| NginxError::io("write", folder, e))
}

fn gone(result: io::Result<()>, path: &Path) -> Result<(), NginxError> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(NginxError::io("remove", path, e)),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), NginxError> {
    gone(fs::remove_file(path), path)
}

fn remove_all(path: &Path) -> Result<(), NginxError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => gone(fs::remove_dir_all(path), path),
        _ => remove(path),
    }
}
