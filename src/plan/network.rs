//! Steps of networks, and what a changed spec comes to.

use crate::api::{DhcpSpec, Name, NetworkSpec, ObjectKey};
use crate::shell::shell_words;

use super::instance_change::Refused;
use super::{ObjectPlan, Outcome};

/// One change of a network. Every step is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Defines it.
    Define,
    /// Starts it.
    Start,
    /// Sets whether libvirt starts it with the host.
    Autostart(bool),
    /// Writes the changed definition, with labels, annotations and spec.
    Redefine,
    /// Takes it down.
    Stop,
    /// Removes the definition.
    Undefine,
    /// Ends the intent.
    Finish,
    /// Removes what the store knows of its addresses, and ends the intent.
    Forget,
}

impl Step {
    /// Returns what the step does, in a line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Define => "define the network",
            Self::Start => "start the network",
            Self::Autostart(true) => "start it with the host",
            Self::Autostart(false) => "do not start it with the host",
            Self::Redefine => "write the changed definition",
            Self::Stop => "take the network down",
            Self::Undefine => "undefine the network",
            Self::Finish => "write the record",
            Self::Forget => "remove the record",
        }
        .to_owned()
    }

    /// Returns the commands a person would type to the same effect on the network `name`.
    pub fn equivalent(&self, name: &Name) -> Option<String> {
        let virsh = |args: &[&str]| Some(format!("virsh {}", shell_words(args)));
        let name = name.as_str();
        match self {
            Self::Define | Self::Redefine => virsh(&["net-define", "network.xml"]),
            Self::Start => virsh(&["net-start", name]),
            Self::Autostart(true) => virsh(&["net-autostart", name]),
            Self::Autostart(false) => virsh(&["net-autostart", name, "--disable"]),
            Self::Stop => virsh(&["net-destroy", name]),
            Self::Undefine => virsh(&["net-undefine", name]),
            Self::Finish | Self::Forget => None,
        }
    }
}

/// Plans the making of a network.
pub fn create(key: ObjectKey, autostart: bool) -> ObjectPlan {
    let steps = vec![
        Step::Define,
        Step::Start,
        Step::Autostart(autostart),
        Step::Finish,
    ];
    plan(key, Outcome::Created, steps)
}

/// Plans the deletion of a network, from any half-made state.
pub fn delete(key: ObjectKey, defined: bool, active: bool) -> ObjectPlan {
    let mut steps = Vec::new();
    if active {
        steps.push(Step::Stop);
    }
    if defined {
        steps.push(Step::Undefine);
    }
    steps.push(Step::Forget);
    plan(key, Outcome::Deleted, steps)
}

/// What a network is doing while it is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It is down.
    Down,
    /// It is up, and no running guest is in it.
    Idle,
    /// It is up, and running guests are in it.
    Used,
}

/// Plans the change of an existing network.
///
/// # Errors
/// [`Refused::Immutable`]: what addresses and guests stand on cannot be changed.
pub fn change(
    key: ObjectKey,
    old: &NetworkSpec,
    new: &NetworkSpec,
    activity: Activity,
) -> Result<ObjectPlan, Refused> {
    let fixed = immutable_fields(old, new);
    if !fixed.is_empty() {
        return Err(Refused::Immutable(fixed));
    }
    let mut steps = vec![Step::Redefine];
    let mut notes = Vec::new();
    match (needs_restart(old, new), activity) {
        (true, Activity::Idle) => steps.extend([Step::Stop, Step::Start]),
        (true, Activity::Used) => notes.push(format!(
            "the change is in force when the network is started again, which cuts running guests \
             off: kvmctl net stop {name}; kvmctl net start {name}",
            name = key.name
        )),
        _ => {}
    }
    if new.autostart != old.autostart {
        steps.push(Step::Autostart(new.autostart.unwrap_or(true)));
    }
    steps.push(Step::Finish);
    let mut plan = plan(key, Outcome::Configured, steps);
    plan.notes = notes;
    Ok(plan)
}

/// What the end of a change that was cut off must do with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Nothing: it may be up or down.
    AsItIs,
    /// It must be up.
    Up,
    /// It must be up as it is defined now.
    Anew,
}

/// Plans the end of a change that was cut off.
pub fn settle(key: ObjectKey, spec: &NetworkSpec, settle: Settle) -> ObjectPlan {
    let mut steps = Vec::new();
    match settle {
        Settle::AsItIs => {}
        Settle::Up => steps.push(Step::Start),
        Settle::Anew => steps.extend([Step::Stop, Step::Start]),
    }
    steps.push(Step::Autostart(spec.autostart.unwrap_or(true)));
    steps.push(Step::Finish);
    plan(key, Outcome::Configured, steps)
}

fn plan(key: ObjectKey, outcome: Outcome, steps: Vec<Step>) -> ObjectPlan {
    ObjectPlan {
        key,
        outcome,
        stages: steps
            .into_iter()
            .map(|s| vec![super::Step::Network(s)])
            .collect(),
        notes: Vec::new(),
    }
}

/// What nobody said stays as it was chosen.
fn immutable_fields(old: &NetworkSpec, new: &NetworkSpec) -> Vec<&'static str> {
    fn kept<T: PartialEq>(old: &Option<T>, new: &Option<T>) -> bool {
        new.is_none() || old == new
    }
    let same = [
        ("spec.mode", old.mode() == new.mode()),
        ("spec.cidr", kept(&old.cidr, &new.cidr)),
        ("spec.gateway", kept(&old.gateway, &new.gateway)),
        ("spec.bridge", kept(&old.bridge, &new.bridge)),
    ];
    same.into_iter()
        .filter(|(_, same)| !same)
        .map(|(field, _)| field)
        .collect()
}

/// Whether dnsmasq, the bridge or the firewall must be told.
fn needs_restart(old: &NetworkSpec, new: &NetworkSpec) -> bool {
    let range = |spec: &NetworkSpec| spec.dhcp.as_ref().and_then(|d: &DhcpSpec| d.range);
    (
        &old.device,
        &old.dns_domain,
        old.has_dhcp(),
        range(old),
        old.ipv6,
        old.mtu,
    ) != (
        &new.device,
        &new.dns_domain,
        new.has_dhcp(),
        range(new),
        new.ipv6,
        new.mtu,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Kind, NetworkMode};

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::Network, Name::new("blue").unwrap())
    }

    fn spec() -> NetworkSpec {
        NetworkSpec {
            cidr: Some("10.10.0.0/24".parse().unwrap()),
            ..NetworkSpec::default()
        }
    }

    fn told(plan: &ObjectPlan) -> Vec<String> {
        plan.steps()
            .filter_map(|s| s.equivalent(&key().name))
            .collect()
    }

    #[test]
    fn a_network_is_started_before_it_starts_with_the_host() {
        assert_eq!(
            told(&create(key(), true)),
            [
                "virsh net-define network.xml",
                "virsh net-start blue",
                "virsh net-autostart blue"
            ]
        );
        assert_eq!(
            told(&delete(key(), true, true)),
            ["virsh net-destroy blue", "virsh net-undefine blue"]
        );
        assert!(told(&delete(key(), false, false)).is_empty());
    }

    #[test]
    fn guests_that_run_keep_their_network() {
        let mut new = spec();
        new.mtu = Some(1400);
        let idle = change(key(), &spec(), &new, Activity::Idle).unwrap();
        assert_eq!(told(&idle).len(), 3);
        let used = change(key(), &spec(), &new, Activity::Used).unwrap();
        assert_eq!(told(&used), ["virsh net-define network.xml"]);
        assert!(used.notes[0].contains("kvmctl net stop blue"));
        let down = change(key(), &spec(), &new, Activity::Down).unwrap();
        assert_eq!((told(&down).len(), down.notes.len()), (1, 0));
    }

    #[test]
    fn what_addresses_stand_on_stays() {
        let mut new = spec();
        new.cidr = Some("10.11.0.0/24".parse().unwrap());
        new.mode = Some(NetworkMode::Isolated);
        let refused = change(key(), &spec(), &new, Activity::Down).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "spec.mode: field is immutable, spec.cidr: field is immutable"
        );
        let unsaid = NetworkSpec::default();
        assert!(change(key(), &spec(), &unsaid, Activity::Down).is_ok());
        let said = NetworkSpec {
            mode: Some(NetworkMode::Nat),
            ..spec()
        };
        assert!(change(key(), &spec(), &said, Activity::Down).is_ok());
    }
}
