//! What must change so that our chains hold what they should, and nobody else's rule is touched.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::Uid;

use super::present::{Jump, Present, Seen};
use super::rule::{Chain, Part, Rule, Tag, shared_rules};

/// What one firewall of one family should hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Goal {
    /// The rules of the forwards that are wanted.
    pub(super) rules: BTreeSet<Rule>,
    /// Whose rules may be changed; those of others stay as they are.
    pub(super) owners: BTreeSet<Uid>,
}

/// The changes of one chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ChainDelta {
    pub(super) make: bool,
    /// Places to delete.
    pub(super) delete: Vec<u64>,
    pub(super) add: Vec<Rule>,
    /// Jumps to delete.
    pub(super) unjump: Vec<Jump>,
    pub(super) jump: bool,
    /// The chain goes, and what is left in it.
    pub(super) drop: bool,
    /// The table goes with it, if nothing else is in it: we had made it.
    pub(super) drop_table: bool,
}

impl ChainDelta {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The changes of one firewall of one family.
pub(super) type Delta = BTreeMap<Chain, ChainDelta>;

/// Returns what must change so that the `wanted` rules are there; empty when nothing is off.
pub(super) fn delta(present: &Present, wanted: &BTreeSet<Rule>, goal: &Goal) -> Delta {
    let changes = Chain::ALL.into_iter().map(|chain| {
        let rules = wanted.iter().filter(|r| r.chain == chain).collect();
        (chain, of_chain(present, chain, &rules, goal))
    });
    changes.filter(|(_, change)| !change.is_empty()).collect()
}

/// Returns the wanted rules with those that a bridge shares: they stay as long as somebody's forward to
/// it stays.
pub(super) fn with_shared(
    present: &Present,
    mut wanted: BTreeSet<Rule>,
    owners: &BTreeSet<Uid>,
) -> BTreeSet<Rule> {
    let others = present
        .rules()
        .filter(|r| r.tag.owner().is_some_and(|uid| !owners.contains(&uid)));
    for rule in others {
        let Some(bridge) = &rule.output else { continue };
        match rule.chain {
            Chain::Fwd => wanted.extend(shared_rules(bridge, false, Part::Accept)),
            Chain::Snat if rule.source == Some(super::rule::loopback()) => {
                wanted.extend(shared_rules(bridge, true, Part::Nat));
            }
            _ => {}
        }
    }
    wanted
}

fn of_chain(present: &Present, chain: Chain, wanted: &BTreeSet<&Rule>, goal: &Goal) -> ChainDelta {
    let seen = present.seen(chain);
    let (mut kept, mut delete, mut stays) = (BTreeSet::new(), Vec::new(), 0usize);
    for one in seen {
        match &one.rule {
            Some(rule) if wanted.contains(rule) && kept.insert(rule) => stays += 1,
            _ if is_governed(one, goal) => delete.push(one.place),
            _ => stays += 1,
        }
    }
    let add: Vec<Rule> = wanted
        .iter()
        .filter(|rule| !kept.contains(*rule))
        .map(|rule| (*rule).clone())
        .collect();
    let exists = present.chains.contains_key(&chain);
    let jumps = present.jumps.get(&chain).map_or(&[][..], Vec::as_slice);
    let all_jumps = || jumps.to_vec();
    if stays == 0 && add.is_empty() {
        return ChainDelta {
            unjump: all_jumps(),
            drop: exists,
            drop_table: jumps.iter().any(|jump| jump.made_table),
            ..ChainDelta::default()
        };
    }
    let right = present.jump_is_right(chain);
    ChainDelta {
        make: !exists,
        delete,
        add,
        unjump: if right { Vec::new() } else { all_jumps() },
        jump: !right,
        ..ChainDelta::default()
    }
}

/// Returns whether a rule that is not wanted may be deleted.
fn is_governed(seen: &Seen, goal: &Goal) -> bool {
    match &seen.tag {
        Some(Tag::Owner(uid, _)) => goal.owners.contains(uid),
        Some(Tag::Bridge(_)) => true,
        None => false,
    }
}
