//! Which leg of a forward is broken: the rules, the guest, or the program in the guest. Found out by
//! knocking, so only where somebody asks to have an instance described.

use std::thread;
use std::time::Duration;

use crate::api::{ForwardPhase, Name, PortForward, Protocol};
use crate::error::Result;
use crate::host::ports::{Knock, knock};
use crate::observe::World;

/// How long a guest may take to answer.
const PATIENCE: Duration = Duration::from_millis(700);

impl World {
    /// Describes the forwards that lead to an instance, a line each.
    ///
    /// # Errors
    /// As for [`World::forwards`].
    pub(in crate::observe) fn legs(&self, instance: &Name, running: bool) -> Result<Vec<String>> {
        let mut forwards = self.forwards()?;
        forwards.retain(|f| f.spec.instance == *instance);
        Ok(thread::scope(|scope| {
            let lines: Vec<_> = forwards
                .iter()
                .map(|f| scope.spawn(move || line(f, running)))
                .collect();
            lines.into_iter().filter_map(|l| l.join().ok()).collect()
        }))
    }
}

fn line(forward: &PortForward, running: bool) -> String {
    let ports = forward.mapping();
    let status = forward.status.as_ref();
    let address = ports
        .address
        .map_or_else(|| "*".to_owned(), |a| a.to_string());
    let target = status.and_then(|s| s.target);
    let guest = target.map_or_else(|| "?".to_owned(), |t| t.to_string());
    let phase = status.map_or(ForwardPhase::Unknown, |s| s.phase);
    let mut line = format!(
        "{address}:{}/{} -> {guest}:{}: {phase}",
        ports.host, ports.protocol, ports.guest
    );
    if phase != ForwardPhase::Active {
        let why = status.and_then(|s| s.message.as_deref());
        line.push_str(&why.map_or_else(String::new, |why| format!(" ({why})")));
    }
    let in_guest = match (running, target, ports.protocol) {
        (false, ..) => "the guest is off".to_owned(),
        (true, Some(ip), Protocol::Tcp) => match knock(ip, ports.guest, PATIENCE) {
            Knock::Answered => "the guest answers".to_owned(),
            Knock::Refused => format!("nothing in the guest listens at port {}", ports.guest),
            Knock::Silence => "the guest does not answer".to_owned(),
        },
        (true, ..) => "whether the guest answers cannot be told".to_owned(),
    };
    format!("{line}, {in_guest}")
}
