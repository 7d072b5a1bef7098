//! Which accelerator an instance gets.
//!
//! `/dev/kvm` and libvirt's domain capabilities prove nothing: on a nested host whose CPU has neither
//! vmx nor svm a tiny payload runs under KVM and a Linux kernel hangs before its first line. So
//! `auto` takes KVM only where the CPU has the extension and no boot probe failed.

use crate::api::Accelerator;

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvmFacts {
    /// libvirt's domain capabilities offer KVM.
    pub offered: bool,
    /// The CPU has vmx or svm; always true where that question makes no sense (not x86).
    pub extension: bool,
    /// What a boot probe found, if there was one.
    pub probed: Option<bool>,
}

/// What was decided, and what a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// `Kvm` or `Tcg`.
    pub accelerator: Accelerator,
    /// Why it is the slow one.
    pub warning: Option<String>,
    /// KVM is taken though no probe has shown that it works.
    pub unproven: bool,
}

/// Decides. `wanted` is the spec's, or else the context's wish.
///
/// # Errors
/// The reason, where KVM was demanded and is not offered.
pub fn decide(wanted: Accelerator, facts: &KvmFacts) -> Result<Decision, String> {
    let tcg = |warning: Option<String>| Decision {
        accelerator: Accelerator::Tcg,
        warning,
        unproven: false,
    };
    let kvm = Decision {
        accelerator: Accelerator::Kvm,
        warning: None,
        unproven: facts.probed.is_none(),
    };
    match wanted {
        Accelerator::Tcg => Ok(tcg(None)),
        Accelerator::Kvm if facts.offered => Ok(kvm),
        Accelerator::Kvm => Err("libvirt does not offer KVM on this host".to_owned()),
        Accelerator::Auto => match why_not(facts) {
            None => Ok(kvm),
            Some(why) => Ok(tcg(Some(format!(
                "{why}; the instance runs under TCG, which is slow"
            )))),
        },
    }
}

/// Returns whether KVM would be taken on trust, which a boot probe could prove first.
pub fn is_on_trust(wanted: Accelerator, decision: &Decision) -> bool {
    wanted == Accelerator::Auto && decision.accelerator == Accelerator::Kvm && decision.unproven
}

fn why_not(facts: &KvmFacts) -> Option<&'static str> {
    if !facts.offered {
        Some("libvirt does not offer KVM on this host")
    } else if facts.probed == Some(false) {
        Some("KVM failed its boot probe on this host")
    } else if !facts.extension && facts.probed != Some(true) {
        Some("the host's CPU has neither vmx nor svm, so KVM cannot be trusted here")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide_auto(offered: bool, extension: bool, probed: Option<bool>) -> (Accelerator, bool) {
        let decision = decide(
            Accelerator::Auto,
            &KvmFacts {
                offered,
                extension,
                probed,
            },
        )
        .unwrap();
        (decision.accelerator, decision.unproven)
    }

    #[test]
    fn kvm_only_where_it_can_be_trusted() {
        assert_eq!(decide_auto(true, true, None), (Accelerator::Kvm, true));
        assert_eq!(
            decide_auto(true, true, Some(true)),
            (Accelerator::Kvm, false)
        );
        assert_eq!(decide_auto(true, true, Some(false)).0, Accelerator::Tcg);
        assert_eq!(
            decide_auto(true, false, None).0,
            Accelerator::Tcg,
            "the nested host"
        );
        assert_eq!(decide_auto(false, true, None).0, Accelerator::Tcg);
    }

    #[test]
    fn only_what_is_taken_on_trust_is_tried_first() {
        let tried = |wanted, offered, extension, probed| {
            let facts = KvmFacts {
                offered,
                extension,
                probed,
            };
            is_on_trust(wanted, &decide(wanted, &facts).unwrap())
        };
        assert!(tried(Accelerator::Auto, true, true, None));
        assert!(!tried(Accelerator::Auto, true, true, Some(true)), "known");
        assert!(!tried(Accelerator::Auto, true, true, Some(false)), "known");
        assert!(!tried(Accelerator::Auto, true, false, None), "TCG anyway");
        assert!(!tried(Accelerator::Auto, false, true, None), "TCG anyway");
        assert!(!tried(Accelerator::Kvm, true, true, None), "asked for");
        assert!(!tried(Accelerator::Tcg, true, true, None), "asked for");
    }

    #[test]
    fn a_demand_for_kvm_is_met_or_refused() {
        let facts = KvmFacts {
            offered: false,
            extension: true,
            probed: None,
        };
        assert!(decide(Accelerator::Kvm, &facts).is_err());
    }
}
