//! Words of a line that a firewall tool printed.

use std::borrow::Cow;

/// Splits a line at blanks; what stands in double quotes is one word, with `\` before a quote.
pub(super) fn words(line: &str) -> Vec<Cow<'_, str>> {
    // Nearly all are like that, and there may be thousands.
    if !line.contains('"') {
        return line.split_whitespace().map(Cow::Borrowed).collect();
    }
    quoted_words(line).into_iter().map(Cow::Owned).collect()
}

/// As [`words`], each on its own.
pub(super) fn owned_words(line: &str) -> Vec<String> {
    words(line).into_iter().map(Cow::into_owned).collect()
}

fn quoted_words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut quoted, mut chars) = (false, line.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words(r#" -A X  --comment "a \"b\" c" "" end"#),
            ["-A", "X", "--comment", "a \"b\" c", "", "end"]
        );
        assert_eq!(words(" -A X  -j Y "), ["-A", "X", "-j", "Y"]);
    }
}
