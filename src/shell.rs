//! Quoting of command lines, for traces and for plans that a person can paste into a shell.

use std::ffi::OsStr;

/// Words of a command line, quoted so that a person can paste them into a shell.
pub fn shell_words<S: AsRef<OsStr>>(args: &[S]) -> String {
    let quoted = args.iter().map(|a| quote(&a.as_ref().to_string_lossy()));
    quoted.collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_pasted_into_a_shell() {
        assert_eq!(
            shell_words(&["-f", "a b", "it's", ""]),
            r"-f 'a b' 'it'\''s' ''"
        );
    }
}
