//! What passed through each balancer.
//!
//! nginx as everybody has it counts for the whole instance only. So each balancer has a log of one
//! short line a request, which nginx compresses as it writes: alike lines take 1 to 3 % of their
//! length, so that a million requests take some tens of kilobytes and no time to speak of. A log that has
//! grown is put aside, and the next time it is replaced by numbers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::error::NginxError;
use super::home::Home;
use super::process::{Processes, signal};
use crate::api::{BalancerCounters, StatusClasses, Uid};

/// From here on a log is put aside: some ten million requests.
const ENOUGH: u64 = 256 << 10;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tally {
    requests: u64,
    opened: u64,
    classes: [u64; 5],
    /// Number of the file that was counted last, in case it could not be removed afterwards.
    #[serde(default)]
    last: u64,
}

impl Tally {
    fn add(&mut self, line: &str) {
        self.requests += 1;
        if line.ends_with('+') {
            self.opened += 1;
        }
        let class = line
            .bytes()
            .next()
            .map(|b| usize::from(b).wrapping_sub(usize::from(b'1')));
        if let Some(count) = class.and_then(|at| self.classes.get_mut(at)) {
            *count += 1;
        }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.opened += other.opened;
        for (mine, more) in self.classes.iter_mut().zip(other.classes) {
            *mine += more;
        }
        self
    }
}

/// The files of one balancer.
struct Logs {
    live: std::path::PathBuf,
    aside: std::path::PathBuf,
    sums: std::path::PathBuf,
}

impl Logs {
    fn of(home: &Home, uid: Uid) -> Self {
        let path = |end: &str| super::within(home, &format!("logs/{uid}.{end}"));
        Self {
            live: path("gz"),
            aside: path("1.gz"),
            sums: path("json"),
        }
    }

    fn sums(&self) -> Tally {
        let text = fs::read(&self.sums).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// What was put aside, unless it is among the sums already.
    fn aside(&self, sums: &Tally) -> Tally {
        match fs::metadata(&self.aside) {
            Ok(found) if found.ino() != sums.last => count(&self.aside),
            _ => Tally::default(),
        }
    }

    fn total(&self) -> Tally {
        let sums = self.sums();
        sums.plus(&self.aside(&sums)).plus(&count(&self.live))
    }

    /// Makes numbers of what was put aside, and puts the present log there.
    fn rotate(&self) -> std::io::Result<()> {
        if let Ok(found) = fs::metadata(&self.aside) {
            let before = self.sums();
            let mut sums = before.plus(&self.aside(&before));
            sums.last = found.ino();
            replace(&self.sums, &serde_json::to_vec(&sums)?)?;
            fs::remove_file(&self.aside)?;
        }
        fs::rename(&self.live, &self.aside)
    }
}

/// Counts a log. What nginx is writing at its end just now is counted the next time.
fn count(path: &Path) -> Tally {
    let mut tally = Tally::default();
    let Ok(file) = File::open(path) else {
        return tally;
    };
    let mut lines = BufReader::new(MultiGzDecoder::new(BufReader::new(file)));
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        tally.add(line.trim_end());
        line.clear();
    }
    tally
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// Counts all logs of the balancers in force.
pub(super) fn read(home: &Home) -> Result<BTreeMap<Uid, BalancerCounters>, NginxError> {
    let sites = home.sites()?;
    let counted = sites.iter().map(|site| {
        let total = Logs::of(home, site.uid).total();
        (site.uid, counters(&total, site.is_stream()))
    });
    Ok(counted.collect())
}

/// Returns whether a log has grown so long that it should be put aside.
pub(super) fn are_long(home: &Home) -> bool {
    let sites = home.sites().unwrap_or_default();
    sites.iter().any(|site| is_long(&Logs::of(home, site.uid)))
}

fn is_long(logs: &Logs) -> bool {
    fs::metadata(&logs.live).is_ok_and(|m| m.len() >= ENOUGH)
}

/// Puts long logs aside, and lets nginx begin new ones.
pub(super) fn rotate(home: &Home, running: &Processes) -> Result<(), NginxError> {
    let mut rotated = false;
    for site in home.sites()? {
        let logs = Logs::of(home, site.uid);
        if is_long(&logs) {
            logs.rotate()
                .map_err(|e| NginxError::io("rotate", &logs.live, e))?;
            rotated = true;
        }
    }
    if let (true, Some(master)) = (rotated, running.master) {
        signal(master, Signal::USR1).map_err(|e| NginxError::io("signal", home.path(), e))?;
    }
    Ok(())
}

fn counters(total: &Tally, is_stream: bool) -> BalancerCounters {
    let [
        informational,
        success,
        redirection,
        client_error,
        server_error,
    ] = total.classes;
    let statuses = StatusClasses {
        informational,
        success,
        redirection,
        client_error,
        server_error,
    };
    BalancerCounters {
        requests: total.requests,
        statuses: (!is_stream).then_some(statuses),
        opened: Some(if is_stream {
            total.requests
        } else {
            total.opened
        }),
        connections: None,
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_log_is_counted_part_by_part_up_to_the_one_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gz");
        let mut bytes = packed("200+\n200\n404\n");
        bytes.extend(packed("502+\n308+\n"));
        let whole = bytes.clone();
        bytes.extend(&packed("200\n")[..9]);
        for bytes in [whole, bytes] {
            fs::write(&path, bytes).unwrap();
            let tally = count(&path);
            assert_eq!((tally.requests, tally.opened), (5, 3));
            assert_eq!(tally.classes, [0, 2, 1, 1, 1]);
        }
        assert_eq!(count(&folder.path().join("none")), Tally::default());
    }

    #[test]
    fn what_was_counted_stays_counted_however_often_logs_are_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().to_owned());
        fs::create_dir(folder.path().join("logs")).unwrap();
        let logs = Logs::of(&home, Uid::from_bytes([7; 16]));
        let mut expected = 0;
        for round in 1..=4 {
            fs::write(&logs.live, packed(&"200\n".repeat(round))).unwrap();
            expected += round as u64;
            assert_eq!(logs.total().requests, expected);
            logs.rotate().unwrap();
            assert_eq!(logs.total().requests, expected, "round {round}");
        }
        // Killed between the numbers and the removal.
        let mut sums = logs.sums().plus(&logs.aside(&logs.sums()));
        sums.last = fs::metadata(&logs.aside).unwrap().ino();
        replace(&logs.sums, &serde_json::to_vec(&sums).unwrap()).unwrap();
        assert_eq!(logs.total().requests, expected);
    }
}
