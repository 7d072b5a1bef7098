//! A seed as a person may see it: everything but the secrets.

use serde_json::{Value, json};

use super::env::parse_env_file;
use super::mime::{self, Part};
use super::recover;
use super::seed::{Seed, cloud_config, sha256_hex};
use super::vendor::{END, SECRET_FILE};

const MASK: &str = "***";

impl Seed {
    /// Returns all files as text, with user-data, secret values and private keys masked.
    pub fn masked(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in &self.files {
            text.push_str(&format!("==> {} <==\n", printable(name)));
            let body = match name.as_str() {
                "user-data" => masked_user_data(bytes),
                "vendor-data" => masked_vendor_data(bytes),
                recover::FILE => masked_record(bytes),
                _ => String::from_utf8_lossy(bytes).into_owned(),
            };
            text.push_str(&printable(body.trim_end()));
            text.push_str("\n\n");
        }
        text
    }
}

/// The key of the hashes is as secret as what they hide.
fn masked_record(bytes: &[u8]) -> String {
    let Ok(Value::Object(mut record)) = serde_json::from_slice(bytes) else {
        return MASK.to_owned();
    };
    if let Some(key) = record.get_mut("mask_key") {
        *key = json!(MASK);
    }
    Value::Object(record).to_string()
}

fn masked_user_data(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(none)".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    if text.starts_with("#include\nfile:///var/lib/kvmctl/") {
        return text.into_owned();
    }
    let hash = sha256_hex(bytes);
    format!("{MASK} ({} bytes, sha256 {hash})", bytes.len())
}

fn masked_vendor_data(bytes: &[u8]) -> String {
    let parts = mime::read(&String::from_utf8_lossy(bytes));
    if parts.is_empty() {
        return format!("{MASK} ({} bytes, not made by kvmctl)", bytes.len());
    }
    parts.iter().map(masked_part).collect()
}

fn masked_part(part: &Part) -> String {
    let body = String::from_utf8_lossy(&part.body);
    let body = match part.kind.as_str() {
        "text/cloud-config" => masked_cloud_config(&body),
        _ => unfold(&body),
    };
    format!("--- {} ({})\n{}\n", part.name, part.kind, body.trim_end())
}

/// The one cloud-config part has keys and nothing else; what does not read as that is not shown.
fn masked_cloud_config(body: &str) -> String {
    let yaml = body.trim_start_matches("#cloud-config\n");
    let Ok(Value::Object(mut config)) = serde_json::from_str(yaml) else {
        return MASK.to_owned();
    };
    for section in config.values_mut().filter_map(Value::as_object_mut) {
        for (key, value) in section.iter_mut() {
            if key.ends_with("_private") {
                *value = json!(MASK);
            }
        }
    }
    cloud_config(&Value::Object(config))
}

/// Shows the files inside a boothook as text.
fn unfold(script: &str) -> String {
    let mut text = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        if line.starts_with("put ") {
            let base64: String = lines.by_ref().take_while(|l| *l != END).collect();
            text.push_str(&embedded(line, &base64));
            text.push_str(END);
            text.push('\n');
        }
    }
    text
}

fn embedded(line: &str, base64: &str) -> String {
    let file = mime::decode_lines(base64).unwrap_or_default();
    let file = String::from_utf8_lossy(&file).into_owned();
    if line.starts_with(&format!("put {SECRET_FILE} ")) {
        let names = parse_env_file(&file).into_iter();
        return names.map(|(n, _)| format!("{n}=\"{MASK}\"\n")).collect();
    }
    let newline = if file.is_empty() || file.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    file + newline
}

/// Replaces what a terminal would act on.
fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' | '\t' => c,
        _ if c.is_control() || super::report::is_bidi(c) => '\u{fffd}',
        _ => c,
    };
    text.chars().map(safe).collect()
}
