//! YAML for machines: our own small emitter of JSON values.
//!
//! The serialiser of the YAML library writes the text `no` and the key `on` without quotes, which
//! PyYAML (Ansible, cloud-init) reads as booleans. This one quotes whatever any YAML 1.1 or 1.2 reader
//! might take for something else than text, and is laid out as kubectl's: block style, lists not
//! indented below their key, `|` for texts of several lines.

use serde_json::{Map, Number, Value};

use super::escape::is_hidden;

/// Writes a value as one YAML document.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        other => {
            out.push_str(&scalar(other, 2));
            out.push('\n');
        }
    }
    out
}

fn mapping(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (key, value) in map {
        pad(out, indent);
        out.push_str(&flow_text(key));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                mapping(out, map, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(out, items, indent);
            }
            other => {
                out.push(' ');
                out.push_str(&scalar(other, indent + 2));
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        let start = out.len();
        match item {
            Value::Object(map) if !map.is_empty() => mapping(out, map, indent + 2),
            Value::Array(items) if !items.is_empty() => sequence(out, items, indent + 2),
            other => {
                pad(out, indent + 2);
                out.push_str(&scalar(other, indent + 2));
                out.push('\n');
            }
        }
        // The item begins with indent + 2 blanks; the last two become its dash.
        out.replace_range(start + indent..start + indent + 1, "-");
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Writes what fits behind a key or a dash; lines of a literal block are indented by `indent`.
fn scalar(value: &Value, indent: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => number(n),
        Value::String(text) if text.contains('\n') && fits_literal(text) => literal(text, indent),
        Value::String(text) => flow_text(text),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

/// YAML 1.1 wants a point and a sign in the exponent: it takes `1e300` for a text.
fn number(n: &Number) -> String {
    let text = n.to_string();
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let point = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with(['-', '+']) {
                ""
            } else {
                "+"
            };
            format!("{mantissa}{point}e{sign}{exponent}")
        }
        None => text,
    }
}

/// A literal block keeps its text only if nothing in it needs an escape and its first line shows the
/// indentation.
fn fits_literal(text: &str) -> bool {
    !text.starts_with([' ', '\t', '\n'])
        && !text
            .chars()
            .any(|c| c != '\n' && c != '\t' && needs_escape(c))
}

fn literal(text: &str, indent: usize) -> String {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let header = match text.len() - text.trim_end_matches('\n').len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    };
    let mut out = header.to_owned();
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(&mut out, indent);
            out.push_str(line);
        }
    }
    out
}

/// Writes a text on one line, plain if every reader takes it for this text, else in double quotes.
fn flow_text(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if needs_escape(c) => match u32::from(c) {
                n @ ..0x100 => out.push_str(&format!("\\x{n:02x}")),
                n @ ..0x1_0000 => out.push_str(&format!("\\u{n:04x}")),
                n => out.push_str(&format!("\\U{n:08x}")),
            },
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn needs_escape(c: char) -> bool {
    // Beside what a terminal obeys: the characters no YAML stream may hold.
    is_hidden(c) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

fn is_plain(text: &str) -> bool {
    let starts_well = text
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '_' | '('));
    starts_well
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(is_plain_char)
        && !is_word_of_yaml(text)
        && !looks_like_number_or_date(text)
}

fn is_plain_char(c: char) -> bool {
    c.is_alphanumeric() || " -_./:=+@()%,;~^$?<>!|&*#'\"\\".contains(c)
}

/// The words that some reader takes for a boolean, null or a merge.
fn is_word_of_yaml(text: &str) -> bool {
    const WORDS: [&str; 10] = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan",
    ];
    let lower = text.to_ascii_lowercase();
    WORDS.contains(&lower.as_str())
}

/// Numbers in any base, with `_` or in base 60 (`22:22`), and dates: whatever starts like one and has
/// no character that none of them has. An address (two dots or more) is no number.
fn looks_like_number_or_date(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let Some(first) = digits.chars().next() else {
        return true;
    };
    if !first.is_ascii_digit() {
        return false;
    }
    if let Some(rest) = digits.get(1..).filter(|_| first == '0')
        && rest.starts_with(['x', 'X', 'b', 'B', 'o', 'O'])
    {
        return true;
    }
    digits.matches('.').count() < 2
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || "._:+-eEtTzZ ".contains(c))
}

#[cfg(test)]
mod tests;
