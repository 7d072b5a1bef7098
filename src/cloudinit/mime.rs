//! The multipart message that vendor-data is: written, and read back for printing and recovery.
//!
//! Every part is base64, so that no line ending, no long line and no odd byte is touched on the way.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// `text/cloud-boothook`, `text/x-shellscript` or `text/cloud-config`.
    pub(super) kind: String,
    /// Name that cloud-init gives the file it makes of it.
    pub(super) name: String,
    /// The content.
    pub(super) body: Vec<u8>,
}

/// Base64 has no `=` at the start of a line, so this can stand in no part.
const BOUNDARY: &str = "===kvmctl===";

/// Writes a multipart message; the header that cloud-init looks for stands first.
pub(super) fn write(parts: &[Part]) -> String {
    let mut text =
        format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for part in parts {
        text.push_str(&format!(
            "--{BOUNDARY}\nContent-Type: {}; charset=\"utf-8\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"{}\"\n\n",
            part.kind, part.name
        ));
        text.push_str(&base64_lines(&part.body));
    }
    text.push_str(&format!("--{BOUNDARY}--\n"));
    text
}

/// Encodes in lines of 76 characters, each ended by a newline.
pub(super) fn base64_lines(bytes: &[u8]) -> String {
    let flat = STANDARD.encode(bytes);
    let mut text = String::with_capacity(flat.len() + flat.len() / 76 + 1);
    let mut rest = flat.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(76));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text
}

/// Decodes base64 with any white space in it.
pub(super) fn decode_lines(text: &str) -> Option<Vec<u8>> {
    let flat: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(flat).ok()
}

/// Reads a message that [`write`] wrote; anything else gives no parts.
pub(super) fn read(text: &str) -> Vec<Part> {
    let delimiter = format!("--{BOUNDARY}\n");
    let parts = text.split(delimiter.as_str()).skip(1);
    parts.filter_map(read_part).collect()
}

fn read_part(text: &str) -> Option<Part> {
    let (head, tail) = text.split_once("\n\n")?;
    let body = tail.split("--").next().unwrap_or_default();
    let field = |before: &str, end: char| {
        let value = head.split(before).nth(1)?;
        Some(value.split(end).next().unwrap_or(value).to_owned())
    };
    Some(Part {
        kind: field("Content-Type: ", ';')?,
        name: field("filename=\"", '"')?,
        body: decode_lines(body)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_read_back(bodies in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let parts: Vec<Part> = bodies
                .into_iter()
                .map(|body| Part { kind: "text/x-shellscript".into(), name: "a-b".into(), body })
                .collect();
            prop_assert_eq!(read(&write(&parts)), parts);
        }

        #[test]
        fn reading_anything_is_harmless(text in "(?s).{0,200}") {
            let _ = read(&text);
            let _ = read(&format!("--{BOUNDARY}\n{text}"));
        }
    }
}
