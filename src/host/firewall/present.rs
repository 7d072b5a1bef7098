//! What is there: our chains as they were read, and where the jumps to them stand.

use std::collections::BTreeMap;

use super::rule::{Chain, Rule, Tag};

/// A rule as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The rule, where it is one that we could have written.
    pub(super) rule: Option<Rule>,
    /// Whose it is, by its comment.
    pub(super) tag: Option<Tag>,
    /// Its number in the chain from 1 (iptables) or its handle (nftables).
    pub(super) place: u64,
    pub(super) packets: u64,
}

/// A jump to one of our chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jump {
    /// As [`Seen::place`], in the chain that it stands in.
    pub(super) place: u64,
    /// The chain that it stands in and the rule, as iptables-save writes it: by the time that it is
    /// deleted another program may have put a rule of its own in its place. A handle of nftables is
    /// never given twice.
    pub(super) text: String,
    /// Whether nothing stands before it.
    pub(super) first: bool,
    /// Whether it jumps for the packets that it should jump for.
    pub(super) right: bool,
    /// Whether its comment says that we made the table that it stands in.
    pub(super) made_table: bool,
}

/// One firewall of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Present {
    /// Our chains that exist.
    pub(super) chains: BTreeMap<Chain, Vec<Seen>>,
    /// The jumps to them.
    pub(super) jumps: BTreeMap<Chain, Vec<Jump>>,
}

impl Present {
    pub(super) fn seen(&self, chain: Chain) -> &[Seen] {
        self.chains.get(&chain).map_or(&[], Vec::as_slice)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Seen> + Clone {
        self.chains.values().flatten()
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.all().filter_map(|seen| seen.rule.as_ref())
    }

    /// Returns whether a chain is entered as it must be.
    pub(super) fn jump_is_right(&self, chain: Chain) -> bool {
        matches!(self.jumps.get(&chain).map(Vec::as_slice),
            Some([only]) if only.right && (only.first || chain != Chain::Fwd))
    }
}
