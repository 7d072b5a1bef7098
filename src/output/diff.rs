//! Differences of two texts, as `diff -u` writes them.

use std::fmt;

use similar::TextDiff;

use super::escape;
use super::style::{Paint, Role};
use super::ui::Ui;
use crate::error::Result;

/// Returns the unified difference of two texts (YAML, secrets masked by the caller); empty where there
/// is none.
pub fn unified(old_name: &str, new_name: &str, old: &str, new: &str, paint: Paint) -> String {
    if old == new {
        return String::new();
    }
    let diff = TextDiff::from_lines(old, new);
    let text = diff
        .unified_diff()
        .header(&escape::line(old_name), &escape::line(new_name))
        .to_string();
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let role = match line.chars().next() {
            _ if number < 2 => Role::Strong,
            Some('+') => Role::Good,
            Some('-') => Role::Bad,
            Some('@') => Role::Hint,
            _ => Role::Plain,
        };
        out.push_str(&paint.paint(role, &escape::text(line)));
        out.push('\n');
    }
    out
}

/// Prints how the live state of an object differs from what is wanted, and returns whether it does.
///
/// # Errors
/// An output that cannot be written to.
pub fn print_diff(ui: &Ui, name: impl fmt::Display, live: &str, wanted: &str) -> Result<bool> {
    let (old, new) = (format!("live/{name}"), format!("wanted/{name}"));
    let text = unified(&old, &new, live, wanted, ui.paint_out());
    ui.out(&text)?;
    Ok(!text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::ui::UiOptions;

    const OLD: &str = "kind: Instance\nspec:\n  cpus: 1\n  run:\n  - a\n";
    const NEW: &str = "kind: Instance\nspec:\n  cpus: 2\n  run:\n  - a\n";

    #[test]
    fn a_difference_is_unified() {
        insta::assert_snapshot!(unified("live/web", "merged/web", OLD, NEW, Paint::Off), @r"
        --- live/web
        +++ merged/web
        @@ -1,5 +1,5 @@
         kind: Instance
         spec:
        -  cpus: 1
        +  cpus: 2
           run:
           - a
        ");
        let (ui, captured) = Ui::captured(UiOptions::default());
        assert!(!print_diff(&ui, "instance/web", OLD, OLD).unwrap());
        assert_eq!(captured.out(), "");
        assert!(print_diff(&ui, "instance/web", "", NEW).unwrap());
        assert!(
            captured
                .out()
                .starts_with("--- live/instance/web\n+++ wanted/instance/web\n")
        );
    }

    #[test]
    fn a_terminal_gets_colours_and_no_sequences_of_others() {
        let text = unified("a", "b", "x\n", "\x1b[2J\n", Paint::Ansi);
        assert!(
            text.contains("\x1b[31m-x\x1b[0m\n\x1b[32m+\\x1b[2J\x1b[0m\n"),
            "{text:?}"
        );
    }
}
