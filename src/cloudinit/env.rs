//! Environment variables: what can be carried into a guest unchanged, and the file that carries it.
//!
//! One file serves everybody. Between double quotes, a POSIX shell and systemd's `EnvironmentFile=`
//! (systemd.exec(5)) read the same four escapes and keep every other byte, newlines included; so
//! login shells source the very file that services are given.

use std::fmt;

use super::error::EnvError;
use crate::api::EnvName;

/// One variable with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvEntry {
    /// Its name.
    pub name: EnvName,
    /// Its value, kept to the byte.
    pub value: String,
    /// Whether only root may read it in the guest, and nobody in what we print.
    pub secret: bool,
}

impl fmt::Debug for EnvEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.secret { "***" } else { &self.value };
        write!(f, "{}={value:?}", self.name)
    }
}

/// Linux refuses a longer `NAME=value` and its NUL (`MAX_ARG_STRLEN`), in bytes.
const MAX_ASSIGNMENT: usize = 128 * 1024;

/// Room for all variables together, in bytes: half of what Linux gives arguments and environment.
const MAX_TOTAL: usize = 1024 * 1024;

/// Names that shells keep to themselves: assigning them fails, or does not last.
const RESERVED: [&str; 27] = [
    "_",
    "BASHOPTS",
    "BASHPID",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "IFS",
    "LINENO",
    "OLDPWD",
    "OPTIND",
    "PPID",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "UID",
];

/// Checks that a variable arrives byte-equal in login shells, services and startup commands.
///
/// # Errors
/// [`EnvError`], which says why it would not.
pub fn check_env(name: &EnvName, value: &str) -> Result<(), EnvError> {
    if RESERVED.contains(&name.as_str()) || name.as_str() == "SHLVL" {
        return Err(EnvError::Reserved { name: name.clone() });
    }
    if let Some((offset, character)) = value.char_indices().find(|(_, c)| refused(*c)) {
        return Err(EnvError::Character {
            name: name.clone(),
            character,
            offset,
        });
    }
    let bytes = assignment_len(name, value);
    if bytes > MAX_ASSIGNMENT {
        return Err(EnvError::TooLong {
            name: name.clone(),
            bytes,
            limit: MAX_ASSIGNMENT,
        });
    }
    Ok(())
}

/// Checks every variable, and that all of them fit together.
///
/// # Errors
/// The first [`EnvError`].
pub fn check_env_total(entries: &[EnvEntry]) -> Result<(), EnvError> {
    for entry in entries {
        check_env(&entry.name, &entry.value)?;
    }
    let bytes = entries
        .iter()
        .map(|e| assignment_len(&e.name, &e.value))
        .sum();
    if bytes > MAX_TOTAL {
        return Err(EnvError::TotalTooLong {
            bytes,
            limit: MAX_TOTAL,
        });
    }
    Ok(())
}

fn assignment_len(name: &EnvName, value: &str) -> usize {
    name.as_str().len() + value.len() + 2
}

/// systemd drops a variable with a control character other than tab and newline, and refuses a
/// whole file with a Unicode noncharacter in it.
fn refused(c: char) -> bool {
    let code = u32::from(c);
    let control = (code < 0x20 && c != '\t' && c != '\n') || code == 0x7f;
    let noncharacter = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    control || noncharacter
}

/// Renders a file that both `EnvironmentFile=` and a sourcing shell read as these variables.
pub(super) fn env_file<'a>(entries: impl IntoIterator<Item = &'a EnvEntry>) -> String {
    let mut text = String::new();
    for entry in entries {
        text.push_str(entry.name.as_str());
        text.push_str("=\"");
        for c in entry.value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    text
}

/// Reads back what [`env_file`] wrote: names and values.
pub(super) fn parse_env_file(text: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut rest = text;
    while let Some((name, tail)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut end = tail.len();
        let mut chars = tail.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => value.push(c),
            }
        }
        entries.push((name.trim().to_owned(), value));
        rest = tail.get(end..).unwrap_or_default();
    }
    entries
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, value: &str) -> EnvEntry {
        EnvEntry {
            name: EnvName::new(name).unwrap(),
            value: value.to_owned(),
            secret: false,
        }
    }

    /// Sources the file in a real shell and returns the variable as the environment has it.
    #[expect(clippy::disallowed_types, reason = "the shell is what is tested")]
    fn through_shell(shell: &str, entry: &EnvEntry) -> Option<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, env_file([entry])).unwrap();
        let script = "set -a; . \"$1\"; set +a; exec env -0";
        let out = std::process::Command::new(shell)
            .args(["-c", script, "sh"])
            .arg(&file)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .ok()?;
        assert!(out.status.success(), "{shell}: {out:?}");
        let prefix = format!("{}=", entry.name);
        out.stdout
            .split(|b| *b == 0)
            .find_map(|v| v.strip_prefix(prefix.as_bytes()))
            .map(<[u8]>::to_vec)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_value_that_is_let_through_survives_a_shell(value in "(?s).{0,80}") {
            let entry = entry("A_1", &value);
            prop_assume!(check_env(&entry.name, &entry.value).is_ok());
            prop_assert_eq!(through_shell("sh", &entry), Some(value.into_bytes()));
        }

        #[test]
        fn the_file_reads_back(values in prop::collection::vec("(?s).{0,40}", 0..5)) {
            let entries: Vec<_> = values.iter().map(|v| entry("X", v)).collect();
            let back = parse_env_file(&env_file(&entries));
            let back: Vec<_> = back.into_iter().map(|(_, v)| v).collect();
            prop_assert_eq!(back, values);
        }
    }

    #[test]
    fn hard_values_survive_every_shell_there_is() {
        let every_utf8_tail: String = (0x80..0x2ff).filter_map(char::from_u32).collect();
        for value in [
            "x $y \"z\" & %",
            "it's \\ `id` $(id) ${HOME}",
            "line one\nline two\n\n",
            "\t lead and trail \t ",
            "",
            "\\",
            "a\\\nb",
            "#no comment",
            &every_utf8_tail,
            &"x".repeat(100 * 1024),
        ] {
            for shell in ["dash", "bash"] {
                let got = through_shell(shell, &entry("A", value)).unwrap();
                assert!(got == value.as_bytes(), "{shell}: {value:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_carried_is_refused_with_the_reason() {
        let name = EnvName::new("A").unwrap();
        let error = check_env(&name, "ab\rc").unwrap_err().to_string();
        assert_eq!(
            error,
            "variable A has U+000D at byte 2, which systemd does not pass on to services"
        );
        for bad in ["\0", "\u{1b}", "\u{7f}", "\u{fdd0}", "\u{1ffff}"] {
            assert!(check_env(&name, bad).is_err(), "{bad:?}");
        }
        assert!(check_env(&name, "tab\tnewline\n\u{85}\u{202e}").is_ok());
        assert!(check_env(&name, &"x".repeat(128 * 1024 - 3)).is_ok());
        assert!(check_env(&name, &"x".repeat(128 * 1024 - 2)).is_err());
        assert!(check_env(&EnvName::new("UID").unwrap(), "1").is_err());
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let mut secret = entry("A", "hunter2");
        secret.secret = true;
        assert_eq!(format!("{secret:?}"), "A=\"***\"");
    }
}
