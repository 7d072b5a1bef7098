//! Points 92 to 98: the two grammars, and that no verb goes untried.

use std::collections::BTreeSet;

use super::{fake, kvmctl};

/// What every verb after a noun does with a name that does not exist, on any libvirt: the words
/// after the name, and the exit code; for one noun where it differs. A verb that is not here fails the test.
const TRIALS: &[(&str, &str, i32)] = &[
    ("annotate", "nope a=b", 4),
    ("add-target", "nope web:80", 4),
    ("adopt", "nope", 4),
    ("attach", "nope web", 4),
    ("attach-network", "nope default", 4),
    ("clone", "nope other", 4),
    ("console", "nope", 2),
    ("cp", "nope:/etc/hostname .", 4),
    ("create", "Not_A_Name", 2),
    ("delete", "nope", 4),
    ("describe", "nope", 4),
    ("detach", "nope", 4),
    ("detach-network", "nope default", 4),
    ("download", "nope out.qcow2", 4),
    ("drain", "nope web", 4),
    ("edit", "nope", 4),
    ("exec", "nope -- true", 4),
    ("export", "nope out.qcow2", 4),
    ("forget", "nope", 4),
    ("forward", "nope 18080:80", 2),
    ("get", "nope", 4),
    ("import", "nofile.qcow2 --name nope", 2),
    ("ip", "nope", 4),
    ("label", "nope a=b", 4),
    ("list", "nope", 4),
    ("logs", "nope", 4),
    ("pause", "nope", 4),
    ("patch", "nope -p {}", 4),
    ("port", "nope", 4),
    ("port-forward", "nope 18080:80", 4),
    ("prune", "--dry-run=client", 0),
    ("pull", "http://localhost/x.qcow2", 2),
    ("remove-target", "nope web:80", 4),
    ("resize", "nope --memory 1Gi", 4),
    ("restart", "nope", 4),
    ("restore", "nope", 4),
    ("resume", "nope", 4),
    ("revert", "nope --to before", 4),
    ("seed", "nope", 4),
    ("ssh", "nope -- true", 4),
    ("start", "nope", 4),
    ("stop", "nope", 4),
    ("top", "nope", 4),
    ("types", "", 0),
    ("snapshots prune", "--dry-run=client", 2),
    ("upload", "nope nofile", 4),
    ("verify", "nope", 4),
    ("volumes resize", "nope --size 1G", 4),
    ("wait", "nope --for=create --timeout=1s", 6),
];

/// The verbs that a noun's help lists.
fn verbs(noun: &str) -> Vec<String> {
    let help = kvmctl(&fake(), &format!("{noun} --help")).ok();
    let commands = help.stdout.split("Commands:\n").nth(1).unwrap();
    commands
        .lines()
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|v| *v != "help")
        .map(str::to_owned)
        .collect()
}

fn nouns() -> Vec<String> {
    let names = kvmctl(&fake(), "api-resources -o name").ok();
    names.stdout.lines().map(str::to_owned).collect()
}

/// 98
#[test]
fn every_verb_of_every_noun_is_tried() {
    let env = fake();
    let mut tried = BTreeSet::new();
    let mut wrong = String::new();
    for noun in nouns() {
        for verb in verbs(&noun) {
            let of_noun = format!("{noun} {verb}");
            let (row, words, code) = TRIALS
                .iter()
                .find(|(v, ..)| *v == of_noun)
                .or_else(|| TRIALS.iter().find(|(v, ..)| *v == verb))
                .unwrap_or_else(|| panic!("{noun} {verb} has no test"));
            kvmctl(&env, &format!("{noun} {verb} --help"))
                .ok()
                .prints(&format!("Usage: kvmctl {noun} {verb}"));
            let output = kvmctl(&env, &format!("{noun} {verb} {words}"));
            // What was waited for is told before.
            let said = output.stderr.lines().any(|l| l.starts_with("error: "));
            if output.status != *code || (*code != 0 && !said) {
                wrong.push_str(&format!("wanted {code}: {output}\n\n"));
            }
            tried.insert((*row).to_owned());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let rows: BTreeSet<String> = TRIALS.iter().map(|(v, ..)| (*v).to_owned()).collect();
    assert_eq!(tried, rows, "a trial of a verb that no noun has");
}

/// 92
#[test]
fn both_grammars_print_the_same() {
    let env = fake();
    for noun in nouns() {
        for form in ["table", "wide", "json", "yaml", "name"] {
            let noun_first = kvmctl(&env, &format!("{noun} list -o {form}")).ok();
            let verb_first = kvmctl(&env, &format!("get {noun} -o {form}")).ok();
            assert_eq!(noun_first.stdout, verb_first.stdout);
            assert_eq!(noun_first.stderr, verb_first.stderr);
        }
    }
}

/// 94
#[test]
fn both_grammars_refuse_the_same() {
    let env = fake();
    for verb in ["get", "describe", "delete"] {
        let noun_first = kvmctl(&env, &format!("instances {verb} nope")).code(4);
        let verb_first = kvmctl(&env, &format!("{verb} instance nope")).code(4);
        assert_eq!(noun_first.stderr, verb_first.stderr);
    }
}
