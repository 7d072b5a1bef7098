//! Ready, as the guest itself says: its reporter speaks over a virtio-serial port.
//!
//! Nothing is polled: lines come from the port, lifecycle changes as events. Where no reporter speaks,
//! the serial log tells whether there is cloud-init at all.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::api::{ConditionStatus, ObjectKey, Reporter, Span, Timestamp, Uid};
use crate::cloudinit::serial::{self, SerialState};
use crate::cloudinit::{PORT_NAME, Report, Seed, Verdict as Says, parse_line};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::{
    Domain, EventKind, EventWaiter, Line, LineReader, ObjectMetadata, StopCause, Waited,
};
use crate::observe::World;
use crate::plan::instance::VolumeRef;
use crate::store::{InstanceRecord, STORE_WAIT, SeedState, Verdict};

use super::metadata::{note, warn};
use super::worker::upload_seed;

/// How often the serial log is looked at while the guest is silent.
const LOOK: Duration = Duration::from_secs(5);
/// How long a guest may show a login prompt without a reporter before it counts as one without
/// cloud-init.
const SILENCE: Duration = Duration::from_secs(15);

/// What is known of a boot so far.
struct Watch<'w> {
    world: &'w World,
    key: &'w ObjectKey,
    domain: Domain,
    events: EventWaiter,
    lines: Option<LineReader>,
    heard: bool,
    reserved: Option<Ipv4Addr>,
    login_seen: Option<Instant>,
    last: String,
}

/// Waits until an instance is Ready.
///
/// # Errors
/// At once when cloud-init fails (with module and message), the guest crashes or stops, or there is
/// no cloud-init; `Timeout` with what was last seen.
pub fn wait_ready(
    world: &World,
    key: &ObjectKey,
    timeout: Duration,
    reporter: &dyn Reporter,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let domain = super::lifecycle::find(world, key)?;
    let events = EventWaiter::new(world.host()?, [domain.uid()])?;
    if !domain.state()?.is_active() {
        return Err(Error::failed(format!("{key} is not running"))
            .hint(format!("kvmctl instances start {}", key.name)));
    }
    if let Some(verdict) = world.verdict_of(&domain)? {
        return as_result(key, &verdict);
    }
    let domain_uid = domain.uid();
    let mut watch = Watch {
        world,
        key,
        domain,
        events,
        lines: None,
        heard: false,
        reserved: reserved(world, domain_uid)?,
        login_seen: None,
        last: "nothing yet".to_owned(),
    };
    reporter.phase(key, "booting");
    watch.run(deadline, timeout, reporter)
}

impl Watch<'_> {
    fn run(&mut self, deadline: Instant, timeout: Duration, reporter: &dyn Reporter) -> Result<()> {
        let mut look = Instant::now() + LOOK;
        loop {
            super::super::signal::interrupted()?;
            self.check_events()?;
            if self.lines.is_none() {
                // Another run may have the port; it writes the verdict when it knows.
                self.lines = self.domain.open_channel(self.world.host()?, PORT_NAME).ok();
                if let Some(verdict) = self.world.verdict_of(&self.domain)? {
                    return as_result(self.key, &verdict);
                }
            }
            if let Some(verdict) = self.next_line(reporter) {
                return self.settle(verdict);
            }
            if Instant::now() >= look && !self.heard {
                look = Instant::now() + LOOK;
                if let Some(verdict) = self.serial(reporter)? {
                    return self.settle((verdict, None));
                }
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out(timeout));
            }
        }
    }

    fn next_line(&mut self, reporter: &dyn Reporter) -> Option<(Verdict, Option<Report>)> {
        let soon = Instant::now() + Duration::from_millis(500);
        let line = match &self.lines {
            Some(lines) => lines.next(soon),
            None => {
                std::thread::sleep(Duration::from_millis(500));
                return None;
            }
        };
        match line {
            Line::Text(text) => {
                let report = parse_line(&text)?;
                self.heard = true;
                self.progress(&report, reporter);
                let verdict = verdict_of(&report, &self.domain)?;
                if verdict.ready == ConditionStatus::True && !self.addressed(&report) {
                    "cloud-init is done, the guest has no address yet".clone_into(&mut self.last);
                    return None;
                }
                Some((verdict, Some(report)))
            }
            Line::Closed => {
                self.lines = None;
                None
            }
            Line::TimedOut => None,
        }
    }

    fn progress(&mut self, report: &Report, reporter: &dyn Reporter) {
        let text = match &report.verdict {
            Says::Running { stage } => format!("cloud-init: {stage}"),
            Says::Failed { .. } => "cloud-init: a module failed".to_owned(),
            Says::Done => "cloud-init: done".to_owned(),
            Says::Disabled => "cloud-init: disabled".to_owned(),
        };
        if text != self.last {
            reporter.phase(self.key, &text);
            self.last = text;
        }
    }

    /// Returns whether the guest has the address that was reserved for it, where one was.
    fn addressed(&self, report: &Report) -> bool {
        let Some(ip) = self.reserved else { return true };
        report
            .nics
            .iter()
            .any(|nic| nic.addresses.contains(&IpAddr::V4(ip)))
    }

    fn check_events(&self) -> Result<()> {
        loop {
            match self.events.next(Instant::now()) {
                Waited::Event(event) => match event.kind {
                    EventKind::Stopped(StopCause::Shutdown | StopCause::Destroyed) => {
                        return Err(self.ended("the guest powered off before it was ready"));
                    }
                    EventKind::Stopped(_) | EventKind::Crashed => {
                        return Err(self.ended("the guest crashed"));
                    }
                    EventKind::Undefined => return Err(self.ended("the instance was deleted")),
                    _ => {}
                },
                Waited::TimedOut => return Ok(()),
                Waited::Closed => return Err(self.ended("the connection to libvirt broke")),
            }
        }
    }

    fn ended(&self, why: &str) -> Error {
        warn(
            self.world,
            self.key,
            Some(self.domain.uid()),
            "NotReady",
            why,
        );
        Error::failed(format!("{} did not become Ready: {why}", self.key))
            .caused_by(format!("last seen: {}", self.last))
            .hint(format!("kvmctl logs {} --tail 30", self.key.name))
    }

    /// Reads the serial log of a guest whose reporter is silent.
    fn serial(&mut self, reporter: &dyn Reporter) -> Result<Option<Verdict>> {
        let log = super::super::guest::serial_log(self.world, self.key, 256 << 10)?;
        Ok(match serial::read(&log) {
            SerialState::Silent => None,
            SerialState::Booting { stage } => {
                let text =
                    stage.map_or_else(|| "booting".to_owned(), |s| format!("cloud-init: {s}"));
                if text != self.last {
                    reporter.phase(self.key, &text);
                    self.last = text;
                }
                None
            }
            SerialState::Crashed { message } => {
                return Err(self.ended(&format!("the guest's kernel panicked: {message}")));
            }
            // The reporter ends first where there is one; give it the time.
            SerialState::Finished { .. } if self.silent_long_enough() => {
                Some(self.verdict(ConditionStatus::True, "done", "CloudInitDone", None))
            }
            SerialState::Failed { errors } if self.silent_long_enough() => {
                let message = errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; ");
                Some(self.verdict(
                    ConditionStatus::False,
                    "error",
                    "CloudInitFailed",
                    Some(message),
                ))
            }
            SerialState::NoCloudInit if self.silent_long_enough() => Some(self.verdict(
                ConditionStatus::False,
                "absent",
                "NoCloudInit",
                Some("the guest came up and cloud-init never spoke: the image has none".to_owned()),
            )),
            _ => None,
        })
    }

    fn silent_long_enough(&mut self) -> bool {
        self.login_seen.get_or_insert_with(Instant::now).elapsed() >= SILENCE
    }

    fn verdict(
        &self,
        ready: ConditionStatus,
        status: &str,
        reason: &str,
        message: Option<String>,
    ) -> Verdict {
        Verdict {
            ready,
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message,
            domain_id: self.domain.run_id(),
            boot_id: None,
            since: Timestamp::now(),
        }
    }

    /// Writes the verdict down, and takes the secrets out of the seed of a guest that is well.
    fn settle(&mut self, (verdict, report): (Verdict, Option<Report>)) -> Result<()> {
        // The port is given back before anything else is done.
        self.lines = None;
        let ready = verdict.ready == ConditionStatus::True;
        let uid = Some(self.domain.uid());
        if ready && report.is_some_and(|r| r.sealed) {
            // Before the verdict, so that a run that is killed meanwhile is repeated by the next.
            if let Err(error) = scrub_seed(self.world, self.key, &self.domain) {
                let why = format!("the seed still holds secrets: {error}");
                warn(self.world, self.key, uid, "SeedNotScrubbed", &why);
            }
        }
        record_verdict(self.world, &self.domain, &verdict)?;
        match verdict.ready {
            ConditionStatus::True => {
                note(
                    self.world,
                    self.key,
                    uid,
                    "Ready",
                    "cloud-init finished well",
                );
            }
            _ => warn(
                self.world,
                self.key,
                uid,
                verdict.reason.as_deref().unwrap_or("NotReady"),
                verdict.message.as_deref().unwrap_or_default(),
            ),
        }
        as_result(self.key, &verdict)
    }

    fn timed_out(&self, timeout: Duration) -> Error {
        let span = Span::seconds(timeout.as_secs());
        Error::new(
            ErrorKind::Timeout,
            format!(
                "timed out waiting for the condition on {}: not Ready after {span}",
                self.key
            ),
        )
        .caused_by(format!("last seen: {}", self.last))
        .hint(format!("kvmctl logs {} --tail 30", self.key.name))
        .hint(format!(
            "kvmctl wait --for=condition=Ready {} --timeout 10m",
            self.key
        ))
    }
}

/// Returns the address that was reserved for an instance.
fn reserved(world: &World, uid: Uid) -> Result<Option<Ipv4Addr>> {
    let record = world.store_for_reading()?.get::<InstanceRecord>(&uid)?;
    Ok(record.and_then(|r| r.nics.iter().find_map(|n| n.ip)))
}

/// Turns a report into a verdict, once there is one.
fn verdict_of(report: &Report, domain: &Domain) -> Option<Verdict> {
    let make = |ready, status: &str, reason: &str, message| {
        Some(Verdict {
            ready,
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message,
            domain_id: domain.run_id(),
            boot_id: Some(report.boot_id.clone()),
            since: Timestamp::now(),
        })
    };
    match &report.verdict {
        Says::Running { .. } => None,
        Says::Failed { errors } => {
            let text = errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            make(
                ConditionStatus::False,
                "error",
                "CloudInitFailed",
                Some(text),
            )
        }
        Says::Done => make(ConditionStatus::True, "done", "CloudInitDone", None),
        Says::Disabled => make(
            ConditionStatus::False,
            "disabled",
            "CloudInitDisabled",
            Some("cloud-init is switched off in this image".to_owned()),
        ),
    }
}

fn as_result(key: &ObjectKey, verdict: &Verdict) -> Result<()> {
    if verdict.ready == ConditionStatus::True {
        return Ok(());
    }
    let reason = verdict.reason.as_deref().unwrap_or("NotReady");
    let error = Error::failed(format!("{key} is not Ready: {reason}"));
    let causes = verdict.message.iter().flat_map(|m| m.split("; "));
    let hint = format!("kvmctl logs {} --cloud-init", key.name);
    Err(causes.fold(error, |e, cause| e.caused_by(cause)).hint(hint))
}

/// Writes the verdict into the live metadata, where it goes with the run, and into the listing.
fn record_verdict(world: &World, domain: &Domain, verdict: &Verdict) -> Result<()> {
    let uid = domain.uid();
    let text = serde_json::to_string(verdict)
        .map_err(|e| Error::failed("cannot write the verdict").caused_by(e))?;
    if let Some(metadata) = domain.metadata_live()?.filter(|m| m.uid == uid) {
        domain.set_metadata_live(&ObjectMetadata {
            verdict: Some(text),
            ..metadata
        })?;
    }
    world.store()?.update_index(|index| {
        if let Some(row) = index.rows.get_mut(&uid) {
            row.verdict = Some(verdict.clone());
        }
    })?;
    Ok(())
}

/// Replaces the seed by one of the same identity without secrets. Where an earlier run was killed,
/// this one goes on.
fn scrub_seed(world: &World, key: &ObjectKey, domain: &Domain) -> Result<()> {
    let store = world.store()?;
    let _object = store.lock_object(key.kind, key.name.as_str(), STORE_WAIT)?;
    let Some(mut record) = store.get::<InstanceRecord>(&domain.uid())? else {
        return Ok(());
    };
    if record.seed != SeedState::Full {
        return Ok(());
    }
    let Some(file) = record
        .files
        .iter_mut()
        .find(|f| f.volume.ends_with("seed.iso"))
    else {
        return Ok(());
    };
    let old = VolumeRef {
        pool: file.pool.clone(),
        name: file.volume.clone(),
    };
    let clean = VolumeRef {
        pool: old.pool.clone(),
        name: scrubbed_name(&old.name),
    };
    let host = world.host()?;
    if !swap_medium(world, domain, &record, &clean)? {
        return Ok(());
    }
    // It goes before the record is written, because the record is what leads to it.
    if let Some(volume) = host.pool(&old.pool)?.find_volume(&old.name)? {
        volume.delete()?;
    }
    for file in &mut record.files {
        if file.volume == old.name {
            file.volume.clone_from(&clean.name);
        }
    }
    record.seed = SeedState::Scrubbed;
    let lock = store.lock(STORE_WAIT)?;
    store.put(&record)?;
    drop(lock);
    note(
        world,
        key,
        Some(record.uid),
        "SeedScrubbed",
        "the seed holds no secrets any more",
    );
    Ok(())
}

/// Puts the clean seed into the drive, unless it is there already; tells whether it is there.
fn swap_medium(
    world: &World,
    domain: &Domain,
    record: &InstanceRecord,
    clean: &VolumeRef,
) -> Result<bool> {
    let host = world.host()?;
    let definition = domain.definition()?;
    let Some(cdrom) = definition.cdrom() else {
        return Ok(false);
    };
    let pool = host.pool(&clean.pool)?;
    let inserted = match pool.find_volume(&clean.name)? {
        Some(volume) => {
            let path = volume.path()?;
            let live = domain.live()?;
            let in_both = [&definition, &live];
            let in_both = in_both.map(|xml| xml.cdrom().and_then(|c| c.path()));
            in_both.iter().all(|medium| *medium == Some(path.as_str()))
        }
        None => false,
    };
    if !inserted {
        let input = super::seed_input_of(world, record)?;
        upload_seed(host, clean, &Seed::sanitized(&input))?;
        let path = pool.volume(&clean.name)?.path()?;
        domain.change_medium(&cdrom.with_medium(std::path::Path::new(&path)))?;
    }
    Ok(true)
}

/// The clean seed lies beside the first one, because a medium in use cannot be written over.
fn scrubbed_name(full: &str) -> String {
    full.replace(".seed.iso", ".clean.seed.iso")
}
