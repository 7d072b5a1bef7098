//! How errors look, and the errors that output itself has: requests that cannot be printed.

use super::escape;
use super::style::{Paint, Role};
use crate::api::Kind as ObjectKind;
use crate::error::{AGAIN, AS_ROOT, Error, did_you_mean};

/// Renders `error: …`, a line `  caused by: …` for each cause, and `hint: …` lines.
///
/// `command` is what was asked for, which a hint may advise to give as root.
pub fn render(error: &Error, command: Option<&str>, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |label: String, text: &str, indent: usize| {
        out.push_str(&label);
        out.push(' ');
        out.push_str(&indented(&escape::text(text), indent));
        out.push('\n');
    };
    line(paint.paint(Role::Bad, "error:"), error.message(), 2);
    for cause in error.causes() {
        let label = format!("  {}", paint.paint(Role::Dim, "caused by:"));
        line(label, cause, 4);
    }
    for hint in error.hints() {
        let exact = command.and_then(|command| match hint.strip_prefix(AGAIN) {
            Some(flag) => Some(format!("{command} {flag}")),
            None => (hint == AS_ROOT).then(|| format!("sudo {command}")),
        });
        line(
            paint.paint(Role::Hint, "hint:"),
            exact.as_deref().unwrap_or(hint),
            2,
        );
    }
    out
}

/// Indents every line but the first, so that no line of a text from outside looks like one of ours.
pub(super) fn indented(text: &str, indent: usize) -> String {
    let text = text.trim_end_matches('\n');
    text.replace('\n', &format!("\n{:indent$}", ""))
}

/// Why a request for output is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// `-o` names no printer.
    #[error(
        "unable to match a printer suitable for the output format {given:?}, allowed formats are: {allowed}"
    )]
    Format {
        /// What was given.
        given: String,
        /// The formats there are, comma-separated.
        allowed: String,
    },
    /// `-o jsonpath` or `-o custom-columns` without what goes with it.
    #[error("{format} format specified but no {what} given")]
    MissingTemplate {
        /// The format.
        format: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// The file of a template cannot be read.
    #[error("cannot read the template file {path:?}: {reason}")]
    TemplateFile {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A JSONPath template does not parse.
    #[error("error parsing jsonpath {text:?} at column {column}: {what}")]
    JsonPath {
        /// The template.
        text: String,
        /// Column of the fault, from 1, in characters.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A custom-columns specification does not parse.
    #[error(
        "unexpected custom-columns spec: {spec:?}, expected <header>:<json-path-expr>,<header>:<json-path-expr>…"
    )]
    CustomColumns {
        /// The part that is wrong.
        spec: String,
    },
    /// `--sort-by` names neither a column nor a path.
    #[error("no column {given:?} to sort by; columns are: {columns}")]
    SortColumn {
        /// What was given.
        given: String,
        /// The columns there are, comma-separated.
        columns: String,
    },
    /// No object has the field to sort by.
    #[error("couldn't find any field with path {path:?} in the list of objects")]
    SortPath {
        /// The path.
        path: String,
    },
    /// A label selector does not parse.
    #[error("unable to parse the label selector {text:?} at column {column}: {what}")]
    LabelSelector {
        /// The selector.
        text: String,
        /// Column of the fault, from 1, in characters.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A field selector does not parse.
    #[error("invalid field selector {text:?}: {what}")]
    FieldSelector {
        /// The selector.
        text: String,
        /// What is wrong.
        what: String,
    },
    /// The field of a field selector is not one that objects of the kind are selected by.
    #[error("field label not supported for {kind}: {field:?}; supported are: {}", supported.join(", "))]
    UnsupportedField {
        /// The kind.
        kind: ObjectKind,
        /// The field that was given.
        field: String,
        /// The fields that are supported.
        supported: Vec<&'static str>,
    },
}

impl From<InvalidRequest> for Error {
    /// Every one is a fault of the command line: exit 2, nothing was changed.
    fn from(invalid: InvalidRequest) -> Self {
        let error = Self::usage(invalid.to_string());
        match &invalid {
            InvalidRequest::UnsupportedField {
                field, supported, ..
            } => match did_you_mean(field, supported.iter().copied()) {
                Some(near) => error.hint(format!("did you mean {near:?}?")),
                None => error,
            },
            InvalidRequest::MissingTemplate {
                format: "jsonpath", ..
            }
            | InvalidRequest::JsonPath { .. } => error.hint(
                "write a path as {.metadata.name}, that of a list as {.items[*].metadata.name}",
            ),
            InvalidRequest::MissingTemplate { .. } | InvalidRequest::CustomColumns { .. } => error
                .hint("write columns as -o custom-columns=NAME:.metadata.name,IP:.status.address"),
            InvalidRequest::LabelSelector { .. } => {
                error.hint("write a selector as -l 'app=web,tier!=db,env in (a,b),!old'")
            }
            InvalidRequest::FieldSelector { .. } => error.hint(
                "write a selector as --field-selector status.phase=Running,metadata.name!=web",
            ),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn sample() -> Error {
        Error::new(Kind::Unavailable, "cannot open \"qemu:///system\"")
            .caused_by("authentication failed\nerror: forged\x1b[1A")
            .hint("sudo usermod -aG libvirt $USER")
    }

    #[test]
    fn causes_and_hints_follow_and_no_text_forges_a_line() {
        insta::assert_snapshot!(render(&sample(), None, Paint::Off), @r#"
        error: cannot open "qemu:///system"
          caused by: authentication failed
            error: forged\x1b[1A
        hint: sudo usermod -aG libvirt $USER
        "#);
    }

    #[test]
    fn the_same_command_as_root_is_the_very_command() {
        let error = Error::conflict("no right").hint_as_root();
        let text = render(&error, Some("kvmctl get 'a b'"), Paint::Off);
        assert!(text.ends_with("\nhint: sudo kvmctl get 'a b'\n"), "{text}");
        let error = Error::usage("there").hint_again_with("--overwrite");
        let text = render(&error, Some("kvmctl get 'a b'"), Paint::Off);
        let hint = "\nhint: kvmctl get 'a b' --overwrite\n";
        assert!(text.ends_with(hint), "{text}");
    }

    #[test]
    fn a_terminal_gets_colours() {
        let text = render(&sample(), None, Paint::Ansi);
        assert!(text.starts_with("\x1b[31merror:\x1b[0m cannot"), "{text:?}");
        assert!(text.contains("\x1b[36mhint:\x1b[0m sudo"), "{text:?}");
    }

    #[test]
    fn every_refusal_is_a_usage_error() {
        let error = Error::from(InvalidRequest::UnsupportedField {
            kind: ObjectKind::Instance,
            field: "status.phas".into(),
            supported: vec!["metadata.name", "status.phase"],
        });
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.hints(), ["did you mean \"status.phase\"?"]);
    }
}
