//! Steps of stand-alone forwards.

use crate::api::{Name, ObjectKey, PortMapping};

use super::{ObjectPlan, Outcome, Step as AnyStep};

/// One change of a forward. Every step is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes the rules be those that the record wants.
    Enforce {
        /// The instance that is led to.
        instance: Name,
        /// The ports.
        ports: PortMapping,
    },
    /// Removes the rules.
    Withdraw,
    /// Writes the record as it is from now on, and ends the intent.
    Finish,
    /// Removes the record, and the intent with it.
    Forget,
}

/// Plans the making or changing of a forward whose record is written.
pub fn enforce(key: ObjectKey, outcome: Outcome, instance: Name, ports: PortMapping) -> ObjectPlan {
    let stages = vec![vec![Step::Enforce { instance, ports }], vec![Step::Finish]];
    plan(key, outcome, stages)
}

/// Plans the deletion of a forward, from any half-made state.
pub fn delete(key: ObjectKey) -> ObjectPlan {
    let stages = vec![vec![Step::Withdraw], vec![Step::Forget]];
    plan(key, Outcome::Deleted, stages)
}

fn plan(key: ObjectKey, outcome: Outcome, stages: Vec<Vec<Step>>) -> ObjectPlan {
    let stages = stages
        .into_iter()
        .map(|stage| stage.into_iter().map(AnyStep::Forward).collect())
        .collect();
    ObjectPlan {
        key,
        outcome,
        stages,
        notes: Vec::new(),
    }
}

impl Step {
    /// Returns what the step does, in a line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Enforce { instance, ports } => {
                format!("let {ports} lead to instance/{instance}")
            }
            Self::Withdraw => "remove its rules from the firewall".to_owned(),
            Self::Finish => "write the record".to_owned(),
            Self::Forget => "remove the record".to_owned(),
        }
    }

    /// Returns the commands a person would type to a like effect.
    pub fn equivalent(&self) -> Option<String> {
        match self {
            Self::Enforce { instance, ports } => Some(commands(instance, ports)),
            _ => None,
        }
    }
}

/// The heart of the rules, as a person would type it; kvmctl's own keep more apart.
pub(super) fn commands(instance: &Name, ports: &PortMapping) -> String {
    let (protocol, guest) = (ports.protocol, ports.guest);
    let host = match ports.count {
        0 | 1 => ports.host.to_string(),
        _ => format!("{}:{}", ports.host, ports.last_host()),
    };
    let address = ports.address.map_or_else(
        || "-m addrtype --dst-type LOCAL".to_owned(),
        |a| format!("-d {a}"),
    );
    format!(
        "IP=$(kvmctl instances ip {instance})\n\
         iptables -t nat -A PREROUTING {address} -p {protocol} --dport {host} -j DNAT --to-destination $IP:{guest}\n\
         iptables -I FORWARD 1 -d $IP -p {protocol} --dport {guest} -m conntrack --ctstate DNAT -j ACCEPT"
    )
}
