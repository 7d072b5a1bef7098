//! serde's messages in the words of a person who writes YAML.

const MAX_QUOTED: usize = 100;

/// Words a message of serde, of a parser or of a type of ours.
pub(super) fn reword(message: &str) -> String {
    let message = undecorated(message);
    if let Some(field) = between(message, "missing field `", "`") {
        return format!("missing field \"{field}\"");
    }
    if let Some(rest) = message.strip_prefix("invalid type: ") {
        return expected_found(rest);
    }
    if let Some(rest) = message.strip_prefix("invalid value: ") {
        return expected_found(rest);
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        return unknown_variant(rest);
    }
    if is_depth(message) {
        return "nested too deeply (more than 128 levels)".to_owned();
    }
    match message {
        "repetition limit exceeded" => "aliases that expand to too many values".to_owned(),
        "EOF while parsing a value" => "the document ends too early".to_owned(),
        other if other.starts_with("found character that cannot start any token") => {
            "a character that cannot begin anything here; YAML is indented by blanks, not tabs, and \
             a text that begins with @, ` or % stands in quotes"
                .to_owned()
        }
        "mapping values are not allowed in this context" => {
            "a second \": \" in one line; a text that has one stands in quotes".to_owned()
        }
        other => shortened(other),
    }
}

/// What is said of a document that expands to more than can be read.
pub(super) const TOO_MUCH: &str = "too many values, or aliases that expand to too many";

/// Returns whether a reader of a document's beginning has seen enough to refuse the whole.
pub(super) fn is_final(message: &str) -> bool {
    const FINAL: [&str; 3] = [TOO_MUCH, "a text as key", "YAML tags ("];
    is_depth(message) || FINAL.iter().any(|f| message.contains(f))
}

fn is_depth(message: &str) -> bool {
    message.contains("recursion limit exceeded")
}

/// Returns the name of the field that a message says is missing.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    between(undecorated(message), "missing field `", "`")
}

/// Cuts off the path that the parser put before serde's own messages.
fn undecorated(message: &str) -> &str {
    const STARTS: [&str; 7] = [
        TOO_MUCH,
        "YAML tags (",
        "invalid type: ",
        "invalid value: ",
        "invalid length ",
        "unknown variant `",
        "missing field `",
    ];
    STARTS
        .iter()
        .filter_map(|start| message.find(start))
        .min()
        .and_then(|at| message.get(at..))
        .unwrap_or(message)
}

fn between<'m>(message: &'m str, before: &str, after: &str) -> Option<&'m str> {
    message.strip_prefix(before)?.split(after).next()
}

/// `string "two", expected u32` → `expected a whole number, found "two"`.
fn expected_found(rest: &str) -> String {
    let Some((found, expected)) = rest.rsplit_once(", expected ") else {
        return shortened(rest);
    };
    let found = match found {
        "map" => "a mapping",
        "sequence" => "a list",
        "unit value" | "null" => "nothing",
        other => other,
    };
    let found = found
        .strip_prefix("string ")
        .or_else(|| {
            found
                .strip_prefix("integer `")
                .map(|n| n.trim_end_matches('`'))
        })
        .or_else(|| {
            found
                .strip_prefix("floating point `")
                .map(|n| n.trim_end_matches('`'))
        })
        .or_else(|| {
            found
                .strip_prefix("boolean `")
                .map(|n| n.trim_end_matches('`'))
        })
        .unwrap_or(found);
    let found = found.split("` as ").next().unwrap_or(found);
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" => "a whole number that is not negative",
        "a string" => "a text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a map" => "a mapping",
        other if other.starts_with("struct ") => "a mapping",
        other if other.starts_with("enum ") => "one word",
        other => other,
    };
    format!("expected {expected}, found {}", shortened(found))
}

/// `virtoi`, expected one of `virtio`, `e1000e`` → `"virtoi" is none of virtio, e1000e`.
fn unknown_variant(rest: &str) -> String {
    let (word, expected) = rest.split_once("`, expected ").unwrap_or((rest, ""));
    let choices = expected.trim_start_matches("one of ").replace('`', "");
    format!("{:?} is not one of {choices}", shortened(word))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED * 2) {
        Some(_) => {
            let head: String = text.chars().take(MAX_QUOTED).collect();
            format!("{head}…")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_for_people() {
        for (from, to) in [
            (
                "spec.cpus: invalid type: string \"two\", expected u32",
                "expected a whole number that is not negative, found \"two\"",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "expected a whole number that is not negative, found -1",
            ),
            (
                "invalid type: integer `99999999999999999999` as u128, expected u32",
                "expected a whole number that is not negative, found 99999999999999999999",
            ),
            (
                "invalid type: sequence, expected struct ObjectMeta",
                "expected a mapping, found a list",
            ),
            ("missing field `name`", "missing field \"name\""),
            (
                "unknown variant `virtoi`, expected one of `virtio`, `e1000e`",
                "\"virtoi\" is not one of virtio, e1000e",
            ),
        ] {
            assert_eq!(reword(from), to);
        }
    }

    #[test]
    fn long_values_are_cut() {
        assert!(reword(&"x".repeat(10_000)).len() < 400);
    }
}
