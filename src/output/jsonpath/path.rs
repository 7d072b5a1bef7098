//! One kubectl path, translated into RFC 9535 queries.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

use super::scanner::{Fault, Scanner};
use crate::output::error::InvalidRequest;

/// A path over objects.
#[derive(Debug, Clone)]
pub struct Path {
    from_root: bool,
    source: String,
    /// A union of quoted paths, which RFC 9535 lacks, becomes several queries.
    queries: Vec<JpQuery>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.from_root == other.from_root && self.source == other.source
    }
}

impl Path {
    /// Parses a path as `--sort-by` and custom columns take it: `.a.b`, `a.b`, `{.a.b}`.
    ///
    /// # Errors
    /// [`InvalidRequest::JsonPath`] with the place of the fault.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let inner = inner.unwrap_or(text).trim();
        let rooted = if inner.starts_with(['.', '[', '$', '@', '*']) {
            inner.to_owned()
        } else {
            format!(".{inner}")
        };
        let mut scanner = Scanner::new(&rooted);
        let path = Self::scan(&mut scanner).map_err(|fault| fault.in_text(text))?;
        match scanner.peek() {
            None => Ok(path),
            Some(c) => {
                Err(Fault::new(scanner.position(), format!("unexpected {c:?}")).in_text(text))
            }
        }
    }

    /// Returns what the path leads to in an object.
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        self.find_in(object, object)
    }

    /// Returns the names along a path that has nothing else in it (`.metadata.name`).
    pub fn names(&self) -> Option<Vec<&str>> {
        let inner = self.source.strip_prefix("['")?.strip_suffix("']")?;
        let names: Vec<&str> = inner.split("']['").collect();
        let simple = |n: &&str| !n.contains(['\'', '\\', '[', ']', ' ']);
        names.iter().all(simple).then_some(names)
    }

    /// Returns what the path leads to, from the item of the innermost range or from the whole.
    pub(super) fn find_in<'a>(&self, root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
        let start = if self.from_root { root } else { current };
        let found = self
            .queries
            .iter()
            .filter_map(|query| js_path_process(query, start).ok());
        found.flatten().map(|result| result.val()).collect()
    }

    /// Reads a path up to the end of the text, a blank or a closing brace.
    pub(super) fn scan(scanner: &mut Scanner<'_>) -> Result<Self, Fault> {
        let start = scanner.position();
        let from_root = scanner.peek() == Some('$');
        if matches!(scanner.peek(), Some('$' | '@')) {
            scanner.next();
        }
        let translated = segments(scanner, Place::Template)?;
        let queries = translated
            .iter()
            .map(|query| parse_json_path(&format!("${query}")))
            .collect::<Result<_, _>>()
            .map_err(|_| Fault::new(start, "not a path"))?;
        Ok(Self {
            from_root,
            source: translated.join(" "),
            queries,
        })
    }
}

/// Where a path stands decides what ends a name.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Template,
    Filter,
}

impl Place {
    const fn also_ends(self) -> &'static str {
        match self {
            Self::Template => "",
            Self::Filter => "=!<>()&|'\"",
        }
    }
}

/// The translations of a path's segments; a union multiplies them.
fn segments(scanner: &mut Scanner<'_>, place: Place) -> Result<Vec<String>, Fault> {
    /// A template needs a few; a hundred would be an attack on memory.
    const MOST: usize = 64;
    let mut queries = vec![String::new()];
    let mut first = true;
    loop {
        let at = scanner.position();
        let choices = match scanner.peek() {
            Some('.') => vec![dotted(scanner, place, first)?],
            Some('*') if first => {
                scanner.next();
                vec!["[*]".to_owned()]
            }
            Some('[') => bracketed(scanner)?,
            _ => return Ok(queries),
        };
        first = false;
        if queries.len() * choices.len() > MOST {
            return Err(Fault::new(at, "too many alternatives"));
        }
        queries = choices
            .iter()
            .flat_map(|choice| queries.iter().map(move |query| format!("{query}{choice}")))
            .collect();
    }
}

/// Reads `.name`, `.*`, `..name`, `..*`, or the dot that stands for the whole.
fn dotted(scanner: &mut Scanner<'_>, place: Place, first: bool) -> Result<String, Fault> {
    let at = scanner.position();
    scanner.expect('.')?;
    let deep = scanner.peek() == Some('.');
    let dots = if deep { ".." } else { "" };
    if deep {
        scanner.next();
    }
    match scanner.peek() {
        Some('*') => {
            scanner.next();
            return Ok(format!("{dots}[*]"));
        }
        // `.['a']` and `..['a']`: the bracket is read next.
        Some('[') => return Ok(dots.to_owned()),
        _ => {}
    }
    let name = scanner.name(place.also_ends())?;
    match (name.is_empty(), deep) {
        (false, _) => Ok(format!("{dots}[{}]", quote(&name))),
        (true, false) if first => Ok(String::new()),
        (true, true) => Err(Fault::new(at, "a name is missing after \"..\"")),
        (true, false) => Err(Fault::new(at, "a name is missing after \".\"")),
    }
}

/// Reads `[…]` and returns the selections it stands for.
fn bracketed(scanner: &mut Scanner<'_>) -> Result<Vec<String>, Fault> {
    let start = scanner.position();
    let (content, at) = scanner.bracket()?;
    let trimmed = content.trim();
    if let Some(condition) = trimmed.strip_prefix('?') {
        return filter(condition, at, start).map(|f| vec![f]);
    }
    let mut indices = Vec::new();
    let mut choices = Vec::new();
    for part in split_top(trimmed) {
        let part = part.trim();
        if part == "*" || is_index(part) {
            indices.push(part);
        } else if part.starts_with(['\'', '"']) {
            choices.extend(key(part, at)?);
        } else {
            return Err(Fault::new(at, format!("invalid array index {part:?}")));
        }
    }
    if !indices.is_empty() {
        choices.push(format!("[{}]", indices.join(",")));
    }
    Ok(choices)
}

/// `3`, `-1`, `0:2`, `::2`.
fn is_index(part: &str) -> bool {
    let number = |s: &str| s.parse::<i32>().is_ok() && !s.starts_with('+') && s != "-0";
    let parts: Vec<&str> = part.split(':').map(str::trim).collect();
    match parts.as_slice() {
        [one] => number(one),
        [_, _] | [_, _, _] => parts.iter().all(|s| s.is_empty() || number(s)),
        _ => false,
    }
}

/// A quoted key is a name; kubectl reads it as a path, so that with dots in it, it is both.
fn key(quoted: &str, at: usize) -> Result<Vec<String>, Fault> {
    let shift = |fault: Fault| Fault::new(at, fault.what);
    let inner = quoted
        .get(1..quoted.len().saturating_sub(1))
        .filter(|_| quoted.len() >= 2 && quoted.ends_with(&quoted[..1]))
        .ok_or_else(|| Fault::new(at, "unterminated quoted string"))?;
    let mut choices = vec![format!("[{}]", quote(&unescape(inner)))];
    if inner.contains(['.', '[']) {
        let path = format!(".{inner}");
        let mut scanner = Scanner::new(&path);
        let nested = segments(&mut scanner, Place::Template).map_err(shift)?;
        if scanner.peek().is_none() {
            let literal = choices[0].clone();
            choices.extend(nested.into_iter().filter(|n| *n != literal));
        }
    }
    Ok(choices)
}

/// Translates the paths in a filter and keeps the rest: `?(@.a-b=="c")` is `[?(@['a-b']=="c")]`.
fn filter(condition: &str, at: usize, start: usize) -> Result<String, Fault> {
    let invalid = || Fault::new(at, format!("invalid filter {condition:?}"));
    let mut scanner = Scanner::new(condition);
    let mut out = String::from("[?");
    while let Some(c) = scanner.peek() {
        match c {
            '\'' | '"' => {
                let text = scanner.quoted().map_err(|f| Fault::new(start, f.what))?;
                out.push_str(&quote(&text));
            }
            '@' | '$' => {
                out.push(c);
                scanner.next();
                let path = segments(&mut scanner, Place::Filter).map_err(|_| invalid())?;
                // A key with dots is taken as a name: a comparison has one left side.
                out.push_str(path.first().map_or("", String::as_str));
            }
            c => {
                out.push(c);
                scanner.next();
            }
        }
    }
    out.push(']');
    parse_json_path(&format!("${out}")).map_err(|_| invalid())?;
    Ok(out)
}

/// Splits at commas outside of quotes.
fn split_top(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut quote, mut escaped) = (0, None, false);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ',') => {
                parts.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// Takes the backslashes out: `app\.io` is `app.io`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' {
            chars.next().unwrap_or(c)
        } else {
            c
        });
    }
    out
}

/// Writes a name as an RFC 9535 string.
fn quote(name: &str) -> String {
    let mut out = String::from("'");
    for c in name.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}
