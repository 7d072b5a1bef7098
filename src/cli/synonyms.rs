//! Words that people bring along from other tools, and what they are called here.

use super::verb::VERBS;
use crate::api::{KINDS, Kind};

/// What other tools say, and the verb here.
const WORDS: [(&str, &[&str]); 12] = [
    ("list", &["list", "ls", "ps"]),
    ("delete", &["rm", "remove", "del", "destroy", "undefine"]),
    ("create", &["run", "launch", "new", "add"]),
    ("describe", &["show", "inspect", "info"]),
    ("restart", &["reboot", "reset", "rollout"]),
    ("stop", &["shutdown", "poweroff", "halt"]),
    ("start", &["boot", "poweron"]),
    ("pause", &["suspend", "freeze"]),
    ("resume", &["unpause", "unfreeze"]),
    ("ssh", &["shell", "login", "connect"]),
    ("get", &["status"]),
    ("patch", &["set", "update"]),
];

/// What stands alone here, whatever it stands for elsewhere.
const ALONE: [(&str, &str); 5] = [
    ("up", "kvmctl apply -f FILE"),
    ("down", "kvmctl delete -f FILE"),
    ("init", "kvmctl setup"),
    ("check", "kvmctl doctor"),
    ("kill", "kvmctl instances stop NAME --force"),
];

/// Returns the command that was meant by a word at the place of a verb; after a noun, one of that noun.
pub(super) fn meant(word: &str, noun: Option<&str>) -> Option<String> {
    if word == "scale" {
        // Nothing here is a set of others.
        return Some(
            "for one more: kvmctl instances create NAME; for a larger one: kvmctl instances resize NAME"
                .to_owned(),
        );
    }
    let alone = ALONE.iter().find(|(other, _)| *other == word);
    if let (Some((_, command)), None) = (alone, noun) {
        return Some((*command).to_owned());
    }
    let known = WORDS.iter().find(|(_, words)| words.contains(&word));
    let verb = known.map_or(word, |(verb, _)| verb);
    let kind = match noun {
        Some(noun) => Kind::from_noun(noun).filter(|kind| has(*kind, verb))?,
        None => KINDS.iter().map(|row| row.kind).find(|k| has(*k, verb))?,
    };
    let kind = match (noun, has(Kind::Instance, verb)) {
        (None, true) => Kind::Instance,
        _ => kind,
    };
    let name = if verb == "list" { "" } else { " NAME" };
    Some(format!("kvmctl {} {verb}{name}", kind.info().plural))
}

fn has(kind: Kind, verb: &str) -> bool {
    // `list` is what `get` is called after a noun.
    let verb = if verb == "list" { "get" } else { verb };
    VERBS.iter().any(|v| v.name == verb && v.applies_to(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_tools_lead_to_ours() {
        let at_root = |word| meant(word, None).unwrap_or_default();
        assert_eq!(at_root("list"), "kvmctl instances list");
        assert_eq!(at_root("ps"), "kvmctl instances list");
        assert_eq!(at_root("rm"), "kvmctl instances delete NAME");
        assert_eq!(at_root("stop"), "kvmctl instances stop NAME");
        assert_eq!(at_root("pull"), "kvmctl images pull NAME");
        assert_eq!(at_root("up"), "kvmctl apply -f FILE");
        assert!(at_root("scale").contains("resize"));
        assert_eq!(at_root("xyzzy"), "");
    }

    #[test]
    fn after_a_noun_only_what_it_has_is_meant() {
        let of = |noun, word| meant(word, Some(noun)).unwrap_or_default();
        assert_eq!(of("vm", "rm"), "kvmctl instances delete NAME");
        assert_eq!(of("volumes", "ps"), "kvmctl volumes list");
        assert_eq!(of("volumes", "reboot"), "");
        assert_eq!(of("nope", "rm"), "");
    }

    #[test]
    fn no_such_word_is_a_verb_of_its_own_already() {
        for (_, words) in WORDS {
            for word in words.iter().filter(|w| **w != "list") {
                assert!(VERBS.iter().all(|v| !v.root || v.name != *word), "{word}");
            }
        }
    }
}
