//! Documents of a file: where each begins, and how one is handed to serde.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeSeed;

/// The notation of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// One document of a file, with the place of its first line.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) file: Arc<str>,
    /// From 1.
    pub(super) number: usize,
    pub(super) format: Format,
    whole: Arc<str>,
    range: Range<usize>,
    /// Line of the file, from 0.
    first_line: usize,
}

/// Why serde gave up on a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Line and column in the file, from 1, if known.
    pub(super) place: Option<(usize, usize)>,
    /// The message without its place.
    pub(super) message: String,
}

impl Document {
    /// Runs `seed` over the document.
    pub(super) fn read<'a, S>(&'a self, seed: S) -> Result<S::Value, Fault>
    where
        S: DeserializeSeed<'a>,
    {
        let text = &self.whole[self.range.clone()];
        match self.format {
            Format::Yaml => seed
                .deserialize(serde_yaml::Deserializer::from_str(text))
                .map_err(|e| self.yaml_fault(&e)),
            Format::Json => {
                let mut de = serde_json::Deserializer::from_str(text);
                seed.deserialize(&mut de)
                    .and_then(|value| de.end().map(|()| value))
                    .map_err(|e| self.json_fault(&e))
            }
        }
    }

    fn yaml_fault(&self, error: &serde_yaml::Error) -> Fault {
        let mut message = error.to_string();
        let place = error.location().map(|at| {
            let suffix = format!(" at line {} column {}", at.line(), at.column());
            message = message.replacen(&suffix, "", 1);
            (self.first_line + at.line(), at.column())
        });
        Fault {
            place,
            message: self.with_own_lines(&message),
        }
    }

    /// Makes "while parsing a flow sequence at line 1 column 4" count from the file's first line.
    fn with_own_lines(&self, message: &str) -> String {
        let mut parts = message.split(" at line ");
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            let (number, rest) = part.split_at(digits);
            match number.parse::<usize>() {
                Ok(line) => text.push_str(&format!(" at line {}{rest}", self.first_line + line)),
                Err(_) => text.push_str(&format!(" at line {part}")),
            }
        }
        text
    }

    /// Finds what YAML does not allow outside of escapes; libyaml would not tell line and column.
    pub(super) fn refuse_control_characters(&self) -> Result<(), Fault> {
        let text = &self.whole[self.range.clone()];
        let Some((at, c)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) else {
            return Ok(());
        };
        let (row, start) = lines(text)
            .enumerate()
            .take_while(|(_, (line, _))| line.start <= at)
            .last()
            .map_or((0, 0), |(row, (line, _))| (row, line.start));
        let code = u32::from(c);
        Err(Fault {
            place: Some((
                self.first_line + row + 1,
                text[start..at].chars().count() + 1,
            )),
            message: format!(
                "control character U+{code:04X}; in a text in double quotes it is written \"\\u{code:04x}\""
            ),
        })
    }

    fn json_fault(&self, error: &serde_json::Error) -> Fault {
        let text = error.to_string();
        let suffix = format!(" at line {} column {}", error.line(), error.column());
        Fault {
            place: (error.line() > 0)
                .then(|| (self.first_line + error.line(), error.column().max(1))),
            message: text.strip_suffix(&suffix).unwrap_or(&text).to_owned(),
        }
    }

    /// Returns a line of the file, numbered from 1, with what a terminal would act on replaced.
    pub(super) fn line(&self, number: usize) -> Option<String> {
        let (range, _) = lines(&self.whole).nth(number.checked_sub(1)?)?;
        let shown = self.whole[range].chars().take(MAX_EXCERPT);
        Some(shown.map(harmless).collect())
    }

    /// Returns beginnings of the document, each longer than the one before by `step` of `marks`.
    pub(super) fn beginnings(
        &self,
        marks: &'static [char],
        step: usize,
    ) -> impl Iterator<Item = Self> {
        let text = &self.whole[self.range.clone()];
        let found = text.match_indices(marks).skip(step).step_by(step);
        found.map(|(at, _)| Self {
            range: self.range.start..self.range.start + at,
            ..self.clone()
        })
    }

    /// Returns whether the document may hold a Secret, whose lines no message shows.
    pub(super) fn mentions_secrets(&self) -> bool {
        self.whole[self.range.clone()].contains("Secret")
    }

    /// Returns how many bytes long the document is.
    pub(super) const fn len(&self) -> usize {
        self.range.end - self.range.start
    }

    /// Returns the line it begins at, from 1.
    pub(super) const fn first_line(&self) -> usize {
        self.first_line + 1
    }
}

fn is_forbidden(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{fffe}' | '\u{ffff}' => true,
        c => c.is_control(),
    }
}

const MAX_EXCERPT: usize = 200;

fn harmless(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Splits a file into its documents; those that hold nothing but comments are left out.
pub(super) fn split(file: &str, text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (whole, file): (Arc<str>, Arc<str>) = (Arc::from(text), Arc::from(file));
    if let Some(ranges) = json_ranges(&file, text) {
        return ranges
            .into_iter()
            .enumerate()
            .map(|(n, range)| Document {
                file: Arc::clone(&file),
                number: n + 1,
                format: Format::Json,
                first_line: lines(&text[..range.start]).count().saturating_sub(1),
                whole: Arc::clone(&whole),
                range,
            })
            .collect();
    }
    yaml_chunks(text)
        .into_iter()
        .enumerate()
        .filter(|(_, chunk)| chunk.has_content)
        .map(|(n, chunk)| Document {
            file: Arc::clone(&file),
            number: n + 1,
            format: Format::Yaml,
            whole: Arc::clone(&whole),
            range: chunk.range,
            first_line: chunk.first_line,
        })
        .collect()
}

struct Chunk {
    range: Range<usize>,
    first_line: usize,
    /// Whether it has its `---`; before that come only comments and directives.
    marked: bool,
    has_content: bool,
}

/// Cuts at `---` and `...` in column 0, which YAML allows nowhere but between documents: not in
/// quoted scalars, and libyaml has a block scalar indented by one at least.
fn yaml_chunks(text: &str) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut open: Option<Chunk> = None;
    for (number, (range, end)) in lines(text).enumerate() {
        let line = &text[range.clone()];
        if is_marker(line, "...") {
            chunks.extend(open.take());
            continue;
        }
        let marker = is_marker(line, "---");
        if marker {
            chunks.extend(open.take_if(|c| c.marked || c.has_content));
        }
        let chunk = open.get_or_insert(Chunk {
            range: range.start..end,
            first_line: number,
            marked: false,
            has_content: false,
        });
        chunk.range.end = end;
        chunk.marked |= marker;
        let rest = if marker { &line[3..] } else { line };
        chunk.has_content |= has_content(rest) && (chunk.marked || !rest.starts_with('%'));
    }
    chunks.extend(open);
    chunks.retain(|c| c.marked || c.has_content);
    chunks
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

fn has_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

/// Returns where the values of a JSON text lie; nothing for what is not JSON.
fn json_ranges(file: &str, text: &str) -> Option<Vec<Range<usize>>> {
    let named = file.to_ascii_lowercase().ends_with(".json");
    if !named && !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut ranges = Vec::new();
    loop {
        let start = values.byte_offset();
        let skipped = text[start..].len() - text[start..].trim_start().len();
        match values.next() {
            None => return Some(ranges),
            Some(Ok(_)) => ranges.push(start + skipped..values.byte_offset()),
            // A file that calls itself JSON is judged as JSON, from the value that is wrong.
            Some(Err(_)) if named => {
                ranges.push(start + skipped..text.len());
                return Some(ranges);
            }
            Some(Err(_)) => return None,
        }
    }
}

/// Yields each line's extent without its break, and where the next begins; breaks are libyaml's.
fn lines(text: &str) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let rest = &text[start..];
        let is_break = |c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let Some(length) = rest.find(is_break) else {
            next = None;
            return Some((start..text.len(), text.len()));
        };
        let after = &rest[length..];
        let width = if after.starts_with("\r\n") {
            2
        } else {
            after.chars().next().map_or(0, char::len_utf8)
        };
        next = Some(start + length + width);
        Some((start..start + length, start + length + width))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Vec<(usize, usize)> {
        split("a.yaml", text)
            .iter()
            .map(|d| (d.number, d.first_line()))
            .collect()
    }

    #[test]
    fn documents_begin_at_markers_in_column_0_only() {
        assert_eq!(shape(""), []);
        assert_eq!(shape("# nothing\n\n"), []);
        assert_eq!(shape("a: 1"), [(1, 1)]);
        assert_eq!(shape("---\na: 1\n---\nb: 1\n"), [(1, 1), (2, 3)]);
        assert_eq!(shape("a: |\n  ---\n  x\n---\nb: 1"), [(1, 1), (2, 4)]);
        assert_eq!(shape("--- |\n ---\n--- 5"), [(1, 1), (2, 3)]);
        assert_eq!(shape("----\n"), [(1, 1)], "a plain scalar");
        assert_eq!(shape("a: 1\n...\n# end\n"), [(1, 1)]);
        assert_eq!(shape("a: 1\n...\nb: 1\n"), [(1, 1), (2, 3)]);
        assert_eq!(shape("---\n---\n# x\n---\na: 1\n---\n"), [(3, 4)]);
    }

    #[test]
    fn directives_and_comments_belong_to_the_document_they_precede() {
        assert_eq!(shape("# c\n%YAML 1.1\n---\na: 1\n"), [(1, 1)]);
        assert_eq!(shape("a: 1\n...\n%YAML 1.1\n---\nb: 1"), [(1, 1), (2, 3)]);
    }

    #[test]
    fn a_mark_and_foreign_line_ends_do_not_matter() {
        assert_eq!(
            shape("\u{feff}---\r\na: 1\r\n---\r\nb: 1\r\n"),
            [(1, 1), (2, 3)]
        );
    }

    #[test]
    fn json_values_are_documents() {
        let docs = split("-", " {\"a\": 1}\n{\"b\": 2}\n");
        let found: Vec<_> = docs.iter().map(|d| (d.format, d.first_line())).collect();
        assert_eq!(found, [(Format::Json, 1), (Format::Json, 2)]);
        assert_eq!(split("-", "{a: 1}")[0].format, Format::Yaml);
    }
}
