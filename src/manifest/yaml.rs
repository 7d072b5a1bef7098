//! JSON values as block YAML that every parser reads back alike.
//!
//! serde_yaml writes `no`, `on` and `012` bare, which YAML 1.1 readers (PyYAML, and so cloud-init)
//! take for false, true and ten. Here a text is bare only where no reader can misread it.

use serde_json::Value;

/// Returns a value as YAML, ended by a newline.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(&mut out, fields, 0),
        Value::Array(entries) if !entries.is_empty() => sequence(&mut out, entries, 0),
        scalar => {
            write_inline(&mut out, scalar, 2);
            out.push('\n');
        }
    }
    out
}

fn mapping(out: &mut String, fields: &serde_json::Map<String, Value>, indent: usize) {
    for (n, (key, value)) in fields.iter().enumerate() {
        if n > 0 {
            pad(out, indent);
        }
        write_key(out, key);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent);
                sequence(out, inner, indent);
            }
            scalar => {
                out.push(' ');
                write_inline(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn sequence(out: &mut String, entries: &[Value], indent: usize) {
    for (n, entry) in entries.iter().enumerate() {
        if n > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match entry {
            Value::Object(inner) if !inner.is_empty() => mapping(out, inner, indent + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(out, inner, indent + 2),
            scalar => {
                write_inline(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Keys longer than YAML allows for a simple key need the `? ` form; no object of ours has one.
fn write_key(out: &mut String, key: &str) {
    if is_bare(key) {
        out.push_str(key);
    } else {
        quoted(out, key);
    }
}

fn write_inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if is_bare(text) || is_size(text) => out.push_str(text),
        Value::String(text) if is_block(text) => block(out, text, indent),
        Value::String(text) => quoted(out, text),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// Whether a text can stand without quotes in YAML 1.1 and 1.2, as text.
fn is_bare(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "none",
    ];
    let starts = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./+=@".contains(&b);
    let colons = text.split(": ").count() == 1 && !text.ends_with(':');
    starts
        && text.len() <= 120
        && text.bytes().all(|b| plain(b) || b == b' ' || b == b':')
        && colons
        && !text.ends_with(' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether a text is a size as we print it (`10Gi`), which no reader takes for a number.
fn is_size(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.len() + 2 == text.len()
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit())
        && ["Ki", "Mi", "Gi", "Ti"].contains(&&text[digits.len()..])
}

/// Whether a text can stand as a literal block: several lines of what a parser leaves alone.
fn is_block(text: &str) -> bool {
    let printable = |c: char| match c {
        '\n' | '\t' => true,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    };
    let has_text = text
        .split('\n')
        .any(|line| !line.trim_matches([' ', '\t']).is_empty());
    text.contains('\n') && has_text && text.chars().all(printable)
}

fn block(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    // Where the first line does not show the indentation by itself, it is said.
    if text.starts_with([' ', '\t', '\n']) {
        out.push('2');
    }
    let body = match text.strip_suffix('\n') {
        None => {
            out.push('-');
            text
        }
        Some(body) if body.ends_with('\n') => {
            out.push('+');
            body
        }
        Some(body) => body,
    };
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if needs_escape(c) => match u32::from(c) {
                code @ 0..=0xff => out.push_str(&format!("\\x{code:02x}")),
                code @ 0x100..=0xffff => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
            c => out.push(c),
        }
    }
    out.push('"');
}

fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
