//! Makes text from outside harmless for a terminal (CVE-2021-25743 and its kin).
//!
//! Names of domains made by hand, labels, cloud-init messages and events may hold escape sequences
//! or bidirectional controls that rewrite what a person sees. Every human-readable print passes here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a terminal would obey `c`, or show nothing for it, rather than print it.
///
/// C0, DEL and C1 controls, bidirectional controls, line separators, byte order mark, tag characters.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Escapes text that is to stay on one line: newlines and tabs are escaped too.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden)
}

/// Escapes text of several lines: newlines and tabs stay as they are.
pub fn text(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_hidden(c) && c != '\n' && c != '\t')
}

/// Escapes one value of a table so that `awk` sees one field: blanks are escaped, and an empty value
/// becomes `<none>`.
pub fn field(text: &str) -> Cow<'_, str> {
    if text.is_empty() {
        return Cow::Borrowed("<none>");
    }
    escape(text, |c| is_hidden(c) || c.is_whitespace())
}

fn escape(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            push_escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn push_escape(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_that_a_terminal_obeys_become_text() {
        assert_eq!(line("\x1b]0;owned\x07"), "\\x1b]0;owned\\x07");
        assert_eq!(line("a\u{9b}31mb\nc\td"), "a\\x9b31mb\\nc\\td");
        assert_eq!(line("evil\u{202e}txt.exe"), "evil\\u{202e}txt.exe");
        assert_eq!(text("one\n\ttwo\r\x1b[2J"), "one\n\ttwo\\r\\x1b[2J");
        assert_eq!(line("grüße, 世界 🎉"), "grüße, 世界 🎉");
    }

    #[test]
    fn a_value_is_one_field_for_awk() {
        assert_eq!(field("my net"), "my\\x20net");
        assert_eq!(field(""), "<none>");
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(s in any::<String>()) {
            prop_assert!(!line(&s).chars().any(is_hidden));
            prop_assert!(!text(&s).chars().any(|c| is_hidden(c) && c != '\n' && c != '\t'));
            let as_field = field(&s);
            prop_assert!(!as_field.is_empty() && !as_field.chars().any(char::is_whitespace));
        }
    }
}
