//! Text from a guest, made fit for a terminal and a line.

/// Longest text that is taken over, in characters.
pub(super) const MAX_TEXT: usize = 400;

/// Returns whether a character turns the direction of what follows it, so that a line can seem to
/// say what it does not.
pub(in super::super) fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns text on one line, without anything a terminal would act on, and not too long.
pub(in super::super) fn clean(text: &str) -> String {
    let spaced: String = text
        .chars()
        .take(MAX_TEXT * 4)
        .map(|c| match c {
            _ if c.is_whitespace() => ' ',
            _ if c.is_control() || is_bidi(c) => '\u{fffd}',
            _ => c,
        })
        .collect();
    let mut words = spaced.split(' ').filter(|w| !w.is_empty());
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        line.push(' ');
        line.push_str(word);
    }
    if line.chars().count() > MAX_TEXT {
        line = line.chars().take(MAX_TEXT - 1).chain(['…']).collect();
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_a_terminal_would_act_on_gets_through() {
        assert_eq!(
            clean("a\u{1b}]0;x\u{7}b\r\n  c\u{202e}"),
            "a\u{fffd}]0;x\u{fffd}b c\u{fffd}"
        );
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_short_harmless_line(text in "(?s).{0,2000}") {
            let line = clean(&text);
            prop_assert!(line.chars().count() <= MAX_TEXT);
            prop_assert!(!line.chars().any(|c| c.is_control() || is_bidi(c)));
        }
    }
}
