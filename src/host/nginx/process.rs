//! Which processes are our nginx: those that run in its directory. A process number in a file may
//! be anybody's by now.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// What a process of an nginx does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Master,
    Worker,
    Retiring,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    pid: i32,
    parent: i32,
    role: Role,
}

/// The processes of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Processes {
    /// The master.
    pub(super) master: Option<i32>,
    /// Workers that take new connections.
    pub(super) workers: Vec<i32>,
    /// Workers that finish what they have.
    pub(super) retiring: Vec<i32>,
    /// Workers whose master is gone: they would keep the ports for ever.
    pub(super) orphans: Vec<i32>,
}

impl Processes {
    /// Looks for the processes that run in `home`.
    pub(super) fn of(home: &Path) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let all: Vec<Process> = entries
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                read(&entry.path(), pid, home)
            })
            .collect();
        Self::sorted(&all)
    }

    fn sorted(all: &[Process]) -> Self {
        let known = |pid| all.iter().any(|p| p.pid == pid);
        // A worker that has just been forked still has its master's title.
        let is_master = |p: &&Process| p.role == Role::Master && !known(p.parent);
        let master = all.iter().find(is_master).map(|p| p.pid);
        let mut found = Self {
            master,
            ..Self::default()
        };
        for process in all.iter().filter(|p| Some(p.pid) != master) {
            match process.role {
                _ if master.is_none_or(|m| m != process.parent) => &mut found.orphans,
                Role::Retiring => &mut found.retiring,
                Role::Master | Role::Worker => &mut found.workers,
            }
            .push(process.pid);
        }
        found
    }

    /// Returns whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns all of them, the master first.
    pub(super) fn all(&self) -> impl Iterator<Item = i32> + '_ {
        let rest = self.workers.iter().chain(&self.retiring);
        self.master.iter().chain(rest.chain(&self.orphans)).copied()
    }
}

fn read(process: &Path, pid: i32, home: &Path) -> Option<Process> {
    if !runs_in(&fs::read_link(process.join("cwd")).ok()?, home) {
        return None;
    }
    let title = fs::read(process.join("cmdline")).ok()?;
    let title = String::from_utf8_lossy(&title);
    let role = match title.strip_prefix("nginx: ")? {
        t if t.starts_with("master process") => Role::Master,
        t if t.starts_with("worker process is shutting down") => Role::Retiring,
        t if t.starts_with("worker process") => Role::Worker,
        _ => return None,
    };
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    // One that has ended and was not waited for yet.
    if fields.next()? == "Z" {
        return None;
    }
    Some(Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        role,
    })
}

/// A directory that was removed while a process runs in it keeps its name, with a note.
fn runs_in(cwd: &Path, home: &Path) -> bool {
    let mut gone = home.as_os_str().to_owned();
    gone.push(" (deleted)");
    cwd == home || cwd.as_os_str() == gone
}

/// Sends a signal to one of our processes; one that is gone is fine.
pub(super) fn signal(pid: i32, signal: Signal) -> std::io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(());
    };
    match rustix::process::kill_process(pid, signal) {
        Err(e) if e != rustix::io::Errno::SRCH => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, role: Role) -> Process {
        Process { pid, parent, role }
    }

    #[test]
    fn a_worker_that_was_just_forked_is_no_second_master() {
        let all = [
            process(12, 10, Role::Master),
            process(10, 1, Role::Master),
            process(11, 10, Role::Retiring),
        ];
        let found = Processes::sorted(&all);
        assert_eq!(found.master, Some(10));
        assert_eq!((found.workers, found.retiring), (vec![12], vec![11]));
    }

    #[test]
    fn workers_without_a_master_are_orphans() {
        let all = [process(11, 1, Role::Worker), process(12, 1, Role::Retiring)];
        let found = Processes::sorted(&all);
        assert_eq!((found.master, found.orphans), (None, vec![11, 12]));
        assert!(Processes::sorted(&[]).is_empty());
    }

    #[test]
    fn a_directory_that_is_gone_is_still_known() {
        let home = Path::new("/var/lib/x");
        assert!(runs_in(Path::new("/var/lib/x"), home));
        assert!(runs_in(Path::new("/var/lib/x (deleted)"), home));
        assert!(!runs_in(Path::new("/var/lib/x2"), home));
    }
}
