//! What the README shows is there, and said as the program says it.

use std::collections::BTreeMap;

use crate::support::Env;

const README: &str = include_str!("../../README.md");

/// The table of commands and `--help` are the same list.
#[test]
fn the_table_of_commands_is_that_of_the_help() {
    let told = Env::new(super::URI).kvmctl(["--help"]).ok().stdout;
    let help: BTreeMap<&str, &str> = told
        .lines()
        .take_while(|line| *line != "Examples:")
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "))
        .map(|(name, about)| (name, about.trim()))
        .collect();
    let table: BTreeMap<&str, &str> = README
        .split_once("| command | what it does |")
        .and_then(|(_, rest)| rest.split_once("\n\n"))
        .map(|(table, _)| table)
        .unwrap()
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.strip_suffix(" |"))
        .filter_map(|row| row.split_once("` | "))
        .collect();
    assert!(help.len() > 20, "{told}");
    assert_eq!(table, help);
}

/// Whatever stands in a block of commands is a command.
#[test]
fn every_command_shown_is_one() {
    let env = Env::new(super::URI);
    let mut tried = 0;
    for line in blocks(&["sh", "console"]) {
        let line = line
            .trim_start_matches("# ")
            .trim_start_matches("kvmctl -q ");
        let Some(words) = line.strip_prefix("kvmctl ") else {
            continue;
        };
        let mut args: Vec<&str> = words
            .split_whitespace()
            .take_while(|w| {
                w.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !w.starts_with('-')
            })
            .collect();
        args.push("--help");
        env.kvmctl(&args).ok();
        tried += 1;
    }
    assert!(tried > 15, "only {tried} commands found");
}

/// Its manifests are valid.
#[test]
fn every_manifest_shown_is_valid() {
    let env = Env::new(super::URI);
    let yaml: Vec<&str> = blocks(&["yaml"]).collect();
    assert!(!yaml.is_empty());
    let file = env.file("readme.yaml", &yaml.join("\n"));
    env.kvmctl(["apply", "--dry-run=client", "-f", file.to_str().unwrap()])
        .ok();
}

/// The lines of the code blocks in these languages.
fn blocks(languages: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    let mut inside = false;
    README.lines().filter(move |line| {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside && languages.contains(&language);
            return false;
        }
        inside
    })
}
