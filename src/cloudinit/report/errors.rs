//! cloud-init's errors, taken apart into module and message.

use std::fmt;

use super::text::clean;

/// What failed, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleError {
    /// cloud-init's module (`scripts_user`), its stage (`init`), `user-data`, or `kvmctl`.
    pub module: String,
    /// What it says, on one line.
    pub message: String,
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.module, self.message)
    }
}

impl ModuleError {
    /// Makes an error of text from a guest.
    pub(in super::super) fn new(module: &str, message: &str) -> Self {
        Self {
            module: clean(module),
            message: clean(message),
        }
    }

    /// Whether it only goes on about one before: user-data that could not be read was empty then.
    pub(in super::super) fn is_echo(&self, before: &[Self]) -> bool {
        self.message.ends_with(": empty cloud config") && !before.is_empty()
    }

    /// Reads an entry of `errors` in status.json: the text of a Python tuple of module name and
    /// exception, or any text that a stage failed with.
    pub(super) fn of_status(stage: &str, entry: &str) -> Self {
        match tuple(entry) {
            Some((module, message)) => Self::new(&module, &message),
            None => Self::new(stage, entry),
        }
    }
}

/// Takes `('scripts_user', RuntimeError('Runparts: …'))` apart.
fn tuple(entry: &str) -> Option<(String, String)> {
    let inner = entry.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (module, rest) = python_string(inner)?;
    let exception = rest.strip_prefix(',')?.trim();
    Some((module, exception_message(exception)))
}

/// Returns what an exception says: its one string, or else all of it.
fn exception_message(exception: &str) -> String {
    let whole = || exception.to_owned();
    let Some((class, rest)) = exception.split_once('(') else {
        return whole();
    };
    let Some(arguments) = rest.strip_suffix(')') else {
        return whole();
    };
    match python_string(arguments) {
        Some((message, "" | ",")) if !message.is_empty() => message,
        _ if arguments.is_empty() => class.to_owned(),
        _ => whole(),
    }
}

/// Reads a Python string literal at the start of a text; returns it and what follows.
fn python_string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' | 'r' | 't' => value.push(' '),
                escaped => value.push(escaped),
            },
            _ if c == quote => return Some((value, text.get(at + 1..)?)),
            _ => value.push(c),
        }
    }
    None
}

/// What a line of cloud-init's log is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum LogLine {
    /// The user-data did not take effect as it was written.
    Failure(ModuleError),
    /// Something else was not right.
    Warning(ModuleError),
}

/// Reads a line such as
/// `2024-01-01 00:00:00,000 - cloud_config.py[WARNING]: Failed at merging in cloud config part`.
///
/// Old versions end such a boot as `done`, and new ones as `degraded`: neither is an error to
/// them, but what the user asked for has not happened.
pub(in super::super) fn from_log_line(line: &str) -> Option<LogLine> {
    let marks = ["[WARNING]: ", "[ERROR]: ", "[CRITICAL]: "];
    let (source, message) = marks.iter().find_map(|mark| line.split_once(mark))?;
    let source = source.rsplit_once(" - ").map_or(source, |(_, s)| s);
    let source = source.rsplit(' ').next().unwrap_or(source);
    Some(of_message(source.trim_end_matches(".py"), message))
}

/// Sorts a message by its beginning; `source` is the file of cloud-init that it came from.
///
/// Only its first line is taken: those after it quote the user-data, in which secrets may stand.
pub(super) fn of_message(source: &str, message: &str) -> LogLine {
    let message = message.lines().next().unwrap_or_default();
    const USER_DATA: [&str; 9] = [
        "Failed at merging in cloud config part",
        "Failed loading yaml blob",
        "Failed calling handler",
        "Failed at registering python file",
        "Failed decompressing",
        "Unhandled non-multipart",
        "Unhandled unknown content-type",
        "Boothooks ",
        "Ignoring jinja template",
    ];
    if !USER_DATA.iter().any(|start| message.starts_with(start)) {
        return LogLine::Warning(ModuleError::new(source, message));
    }
    // A quotation that the lines after it end.
    let message = message.replace(": \"", ": ");
    let message = message
        .strip_prefix("Failed loading yaml blob. ")
        .unwrap_or(&message);
    let module = if message.contains("kvmctl-") {
        "kvmctl"
    } else {
        "user-data"
    };
    LogLine::Failure(ModuleError::new(module, message))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(entry: &str) -> (String, String) {
        let error = ModuleError::of_status("init", entry);
        (error.module, error.message)
    }

    #[test]
    fn modules_and_messages_are_taken_out_of_python_text() {
        for (entry, module, message) in [
            (
                "('scripts_user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))",
                "scripts_user",
                "Runparts: 1 failures (part-001) in 1 attempted commands",
            ),
            (
                r#"('runcmd', TypeError("Input to shellify was type 'str'. Expected list."))"#,
                "runcmd",
                "Input to shellify was type 'str'. Expected list.",
            ),
            (r"('x', ValueError('it\'s\nbad'))", "x", "it's bad"),
            (
                "('ntp', OSError(2, 'No such file'))",
                "ntp",
                "OSError(2, 'No such file')",
            ),
            ("('a', KeyError())", "a", "KeyError"),
            (
                "Consuming user data failed!",
                "init",
                "Consuming user data failed!",
            ),
            ("('broken", "init", "('broken"),
        ] {
            assert_eq!(of(entry), (module.into(), message.into()), "{entry}");
        }
    }

    #[test]
    fn log_lines_are_sorted() {
        let line = "2026-11-22 22:40:00,123 - cloud_config.py[WARNING]: Failed at merging in cloud config part from part-001: empty cloud config";
        let Some(LogLine::Failure(error)) = from_log_line(line) else {
            panic!("not a failure");
        };
        assert_eq!(error.module, "user-data");
        let line = "2026-11-22 22:40:00,123 - cc_ntp.py[WARNING]: no servers";
        let Some(LogLine::Warning(error)) = from_log_line(line) else {
            panic!("not a warning");
        };
        assert_eq!(error.to_string(), "cc_ntp: no servers");
        assert_eq!(
            from_log_line("2026 - util.py[DEBUG]: Failed loading yaml blob"),
            None
        );
        assert_eq!(from_log_line("nothing"), None);
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in "(?s)[('\"\\\\,) a-z\\n\u{1b}]{0,60}") {
            let error = ModuleError::of_status("init", &text);
            prop_assert!(!error.to_string().chars().any(char::is_control));
            let _ = from_log_line(&text);
        }
    }
}
