//! JSON for machines, safe to look at.

use serde_json::Value;

use super::escape::is_hidden;

/// Writes a value as indented JSON with a newline at the end.
///
/// JSON escapes only C0 controls by itself. What else a terminal would obey is written as `\u…` too:
/// the data are the same, the screen is safe.
pub fn to_string(value: &Value) -> String {
    // Pretty-printing a Value has no failing case: keys are strings and the writer is memory.
    let plain = format!("{value:#}");
    let mut out = String::with_capacity(plain.len() + 1);
    for c in plain.chars() {
        // Outside of strings JSON has no such character but the newlines of the layout.
        if c != '\n' && is_hidden(c) {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let text = to_string(&json!({"a": "\u{1b}\u{9b}\u{202e}\u{e0041}\u{7f}é"}));
        assert_eq!(
            text,
            "{\n  \"a\": \"\\u001b\\u009b\\u202e\\udb40\\udc41\\u007fé\"\n}\n"
        );
    }

    proptest! {
        #[test]
        fn data_come_back_as_they_were(key in any::<String>(), text in any::<String>()) {
            let value = json!({key: [text, 1, null, true, 1.5]});
            let printed = to_string(&value);
            prop_assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
            prop_assert!(!printed.replace('\n', "").chars().any(is_hidden));
        }
    }
}
