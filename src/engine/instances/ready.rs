//! Ready, as the guest itself says: its reporter speaks over a virtio-serial port.
//!
//! Nothing is polled: lines come from the port, lifecycle changes as events. Where no reporter speaks,
//! the serial log tells whether there is cloud-init at all.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::api::{ConditionStatus, ObjectKey, Reporter, Span};
use crate::cloudinit::serial::{self, SerialState};
use crate::cloudinit::{PORT_NAME, Report, Verdict as Says, parse_line};
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::libvirt::{Domain, EventKind, EventWaiter, Line, LineReader, StopCause, Waited};
use crate::observe::World;
use crate::store::Verdict;

use super::metadata::warn;
use super::reboot::{Boot, compare, forget_verdict};
use super::verdict::{
    address_of, addressed, as_result, of_report, of_serial, remember_stage, reserved, settle,
};

/// How often the serial log is looked at while the guest is silent.
const LOOK: Duration = Duration::from_secs(5);
/// How long a guest may show a login prompt without a reporter before it counts as one without
/// cloud-init.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// How long a guest that was Ready may take to say which boot it is of.
const GREETING: Duration = Duration::from_secs(3);
/// What is said of a guest that is well and does not have its address.
const NO_ADDRESS: &str = "cloud-init is done, the guest has no address yet";
/// What is said of a guest of which nothing else is known.
const BOOTING: &str = "booting";

/// What is known of a boot so far.
struct Watch<'w> {
    world: &'w World,
    key: &'w ObjectKey,
    domain: Domain,
    events: EventWaiter,
    lines: Option<LineReader>,
    heard: Option<Instant>,
    reserved: Option<Ipv4Addr>,
    address: Option<IpAddr>,
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
        match compare(world, &domain, &verdict, timeout.min(GREETING))? {
            Boot::Same | Boot::Untold => return as_result(key, &verdict),
            Boot::Another(_) => forget_verdict(world, key, &domain)?,
        }
    }
    let domain_uid = domain.uid();
    let mut watch = Watch {
        world,
        key,
        domain,
        events,
        lines: None,
        heard: None,
        reserved: reserved(world, domain_uid)?,
        address: None,
        login_seen: None,
        last: BOOTING.to_owned(),
    };
    reporter.phase(key, BOOTING);
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
            if Instant::now() >= look && self.is_silent() {
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
                self.heard = Some(Instant::now());
                self.progress(&report, reporter);
                let verdict = of_report(&report, &self.domain)?;
                if verdict.ready == ConditionStatus::True && !addressed(self.reserved, &report) {
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
        if self.address.is_none() {
            self.address = address_of(self.reserved, report);
            if let Some(address) = self.address {
                reporter.phase(self.key, &format!("has address {address}"));
            }
        }
        let text = match &report.verdict {
            Says::Running { stage } => format!("cloud-init: {stage}"),
            Says::Failed { .. } => "cloud-init: a module failed".to_owned(),
            Says::Done if !addressed(self.reserved, report) => NO_ADDRESS.to_owned(),
            Says::Done => "cloud-init: done".to_owned(),
            Says::Disabled => "cloud-init: disabled".to_owned(),
        };
        if text != self.last {
            reporter.phase(self.key, &text);
            self.last = text;
            // Another who asks meanwhile cannot have the port.
            let _ = remember_stage(self.world, &self.domain, report);
        }
    }

    fn check_events(&self) -> Result<()> {
        loop {
            match self.events.next(Instant::now()) {
                Waited::Event(event) => match event.kind {
                    EventKind::Stopped(StopCause::Shutdown | StopCause::Destroyed) => {
                        return Err(self.ended("the guest powered off before it was ready"));
                    }
                    EventKind::Stopped(StopCause::Saved) => {
                        return Err(self.ended("its state was saved and it was stopped"));
                    }
                    EventKind::Stopped(StopCause::Migrated) => {
                        return Err(self.ended("it moved to another host"));
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
        let state = serial::read(&log);
        match &state {
            SerialState::Booting { stage } => {
                let booting = || BOOTING.to_owned();
                // As the reporter spells them.
                let spelt = |stage: &String| format!("cloud-init: {}", stage.replace(':', "-"));
                let text = stage.as_ref().map_or_else(booting, spelt);
                if text != self.last {
                    reporter.phase(self.key, &text);
                    self.last = text;
                }
            }
            SerialState::Crashed { message } => {
                return Err(self.ended(&format!("the guest's kernel panicked: {message}")));
            }
            _ => {}
        }
        // The reporter ends first where there is one; give it the time.
        let verdict = of_serial(&state, &self.domain);
        Ok(verdict.filter(|_| self.silent_long_enough()))
    }

    /// Tells whether no reporter speaks: none has, or the one that did was ended.
    fn is_silent(&self) -> bool {
        self.heard.is_none_or(|at| at.elapsed() >= SILENCE)
    }

    fn silent_long_enough(&mut self) -> bool {
        // One that has spoken has been silent for as long already.
        self.heard.is_some()
            || self.login_seen.get_or_insert_with(Instant::now).elapsed() >= SILENCE
    }

    fn settle(&mut self, (verdict, report): (Verdict, Option<Report>)) -> Result<()> {
        // The port is given back before anything else is done.
        self.lines = None;
        let sealed = report.map(|r| r.sealed);
        settle(self.world, self.key, &self.domain, &verdict, sealed)?;
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
