//! Quoting of command lines, for traces and for plans that a person can paste into a shell.

use std::ffi::OsStr;

/// Words of a command line, quoted so that a person can paste them into a shell.
pub fn shell_words<S: AsRef<OsStr>>(args: &[S]) -> String {
    let quoted = args.iter().map(|a| quote(&a.as_ref().to_string_lossy()));
    quoted.collect::<Vec<_>>().join(" ")
}

/// Returns the command that writes a text into a file, as it is.
pub fn here_document(file: &str, text: &str) -> String {
    here(file, text, "'")
}

/// Returns the command that writes a text into a file, with some parts of it taken from the shell's
/// variables: pairs of the part and the variable.
pub fn here_document_with_variables(file: &str, text: &str, parts: &[(&str, &str)]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '$' | '`') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    for (part, variable) in parts {
        escaped = escaped.replace(part, variable);
    }
    here(file, &escaped, "")
}

fn here(file: &str, text: &str, quote: &str) -> String {
    let mut end = "EOF".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let newline = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let file = shell_words(&[file]);
    format!("cat > {file} <<{quote}{end}{quote}\n{text}{newline}{end}")
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
    fn a_file_is_written_as_it_is() {
        let text = "a $HOME `id` \\ 'b'\nEOF\nlast";
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a b").display().to_string();
        let parts = [("@POOL@", "$POOL")];
        for (command, wanted) in [
            (here_document(&file, text), format!("{text}\n")),
            (here_document(&file, ""), String::new()),
            (
                here_document_with_variables(&file, &format!("@POOL@/x {text}"), &parts),
                format!("/pool/x {text}\n"),
            ),
        ] {
            run(&format!("POOL=/pool\n{command}\n"));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), wanted);
        }
    }

    #[expect(
        clippy::disallowed_types,
        reason = "only a shell can tell what it reads"
    )]
    fn run(script: &str) {
        let status = std::process::Command::new("sh")
            .args(["-c", script])
            .status();
        assert!(status.unwrap().success(), "{script}");
    }

    #[test]
    fn words_can_be_pasted_into_a_shell() {
        assert_eq!(
            shell_words(&["-f", "a b", "it's", ""]),
            r"-f 'a b' 'it'\''s' ''"
        );
    }
}
