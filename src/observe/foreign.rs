//! Domains that are not ours, and names that are none of ours: virsh takes names that kvmctl does not.

use super::instance::instance_of_record;
use super::phase::{phase_of, ready_condition};
use crate::api::{
    Condition, ConditionStatus, Instance, InstanceSpec, InstanceStatus, Name, Phase, Uid,
};
use crate::libvirt::{Domain, DomainBrief, Host, LibvirtError};
use crate::shell::shell_words;

/// Looks a domain up by name, or by UUID where it has a name that kvmctl cannot say.
///
/// # Errors
/// What libvirt says, also where there is none.
pub(super) fn domain_named(host: &Host, name: &Name) -> Result<Domain, LibvirtError> {
    match (host.domain(name.as_str()), name.as_str().parse::<Uid>()) {
        (Err(e), Ok(uid)) if e.is_not_found() => host.domain_by_uid(uid),
        (found, _) => found,
    }
}

/// Returns the name of an instance: the domain's, or its UUID where the domain's is none of ours.
pub(super) fn name_of(domain_name: &str, uid: Uid) -> Option<Name> {
    Name::new(domain_name)
        .or_else(|_| Name::new(uid.to_string()))
        .ok()
}

/// Returns what to do about a name that kvmctl cannot say.
pub(super) fn advice(domain_name: &str) -> Option<String> {
    let quoted = shell_words(&[domain_name]);
    Name::new(domain_name).is_err().then(|| {
        format!(
            "libvirt names it {domain_name:?}, which is no name of an object here; to manage it, \
             give it another: virsh domrename {quoted} NEW-NAME"
        )
    })
}

/// Returns the `Ready` condition of a domain that is not ours: nobody reports for it.
pub(super) fn ready_of(phase: Phase, reason: Option<&str>) -> Condition {
    match phase {
        Phase::Running => Condition::new("Ready", ConditionStatus::Unknown, "NotManaged"),
        _ => ready_condition(phase, reason, None),
    }
}

/// A domain that is not ours, as far as a listing shows it.
pub(super) fn unmanaged(brief: &DomainBrief) -> Option<Instance> {
    let name = name_of(&brief.name, brief.uid)?;
    let mut instance = instance_of_record(name, brief.uid, InstanceSpec::default());
    let (phase, reason) = phase_of(brief.state, None, None);
    instance.status = Some(InstanceStatus {
        phase,
        reason: reason.clone(),
        message: advice(&brief.name),
        managed: false,
        address: None,
        addresses: Vec::new(),
        conditions: vec![ready_of(phase, reason.as_deref())],
        accelerator: None,
        cpus: None,
        memory: None,
        disk: None,
        cloud_init: None,
        observed_generation: None,
    });
    Some(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_of_ours_stands_as_its_uuid_with_what_to_do() {
        let uid = Uid::random();
        assert_eq!(name_of("web", uid).unwrap().as_str(), "web");
        assert_eq!(advice("web"), None);
        for odd in ["Win10_VM", "it's", "a b", "-x"] {
            assert_eq!(name_of(odd, uid).unwrap().as_str(), uid.to_string());
            assert!(advice(odd).unwrap().contains("virsh domrename"));
        }
        assert!(advice("it's").unwrap().contains(r"'it'\''s'"));
    }
}
