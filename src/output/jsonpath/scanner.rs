//! Reads a template character by character and knows where it is.

use crate::output::error::InvalidRequest;

/// What is wrong with a template, and at which character (from 0).
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }

    pub(super) fn in_text(self, text: &str) -> InvalidRequest {
        InvalidRequest::JsonPath {
            text: text.to_owned(),
            column: self.at + 1,
            what: self.what,
        }
    }
}

/// Reads a template character by character and knows where it is.
pub(super) struct Scanner<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    position: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars().peekable(),
            position: 0,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    pub(super) fn peek_at(&mut self) -> Option<usize> {
        self.rest.peek().map(|_| self.position)
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.position += 1;
        Some(c)
    }

    pub(super) fn expect(&mut self, wanted: char) -> Result<(), Fault> {
        match self.next() {
            Some(c) if c == wanted => Ok(()),
            _ => Err(Fault::new(self.position, format!("{wanted:?} is missing"))),
        }
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    pub(super) fn take_until(&mut self, stop: char) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| *c != stop) {
            out.push(c);
            self.next();
        }
        out
    }

    pub(super) fn word(&mut self) -> String {
        let mut out = String::new();
        while let Some(c) = self
            .peek()
            .filter(|c| c.is_alphanumeric() || "_-".contains(*c))
        {
            out.push(c);
            self.next();
        }
        if out.is_empty() {
            // An unknown character is named, not skipped for ever.
            out.extend(self.next());
        }
        out
    }

    /// Reads a name after a dot up to a separator or one of `also_ends`; a backslash takes the next
    /// character as it is.
    pub(super) fn name(&mut self, also_ends: &str) -> Result<String, Fault> {
        let ends = |c: char| ".[]{},$@".contains(c) || c.is_whitespace() || also_ends.contains(c);
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| !ends(*c)) {
            self.next();
            if c == '\\' {
                let escaped = self.next();
                out.push(escaped.ok_or_else(|| Fault::new(self.position, "unfinished escape"))?);
            } else {
                out.push(c);
            }
        }
        Ok(out)
    }

    /// Reads a quoted text with the escapes of Go.
    pub(super) fn quoted(&mut self) -> Result<String, Fault> {
        let start = self.position;
        let unterminated = || Fault::new(start, "unterminated quoted string");
        let quote = self.next().ok_or_else(unterminated)?;
        let mut out = String::new();
        loop {
            match self.next().ok_or_else(unterminated)? {
                c if c == quote => return Ok(out),
                '\\' => match self.next().ok_or_else(unterminated)? {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    'u' => {
                        let digits: String = (0..4).filter_map(|_| self.next()).collect();
                        let code = u32::from_str_radix(&digits, 16).ok();
                        let c = code.and_then(char::from_u32).filter(|_| digits.len() == 4);
                        out.push(c.ok_or_else(|| Fault::new(start, "invalid \\u escape"))?);
                    }
                    c => out.push(c),
                },
                c => out.push(c),
            }
        }
    }

    /// Reads `[…]` with quotes and brackets inside; returns the content and where it starts.
    pub(super) fn bracket(&mut self) -> Result<(String, usize), Fault> {
        let start = self.position;
        let unterminated = || Fault::new(start, "unterminated '['");
        self.expect('[')?;
        let at = self.position;
        let mut out = String::new();
        let (mut depth, mut quote) = (0usize, None);
        loop {
            let c = self.next().ok_or_else(unterminated)?;
            match (quote, c) {
                (Some(_), '\\') => {
                    out.push(c);
                    out.push(self.next().ok_or_else(unterminated)?);
                    continue;
                }
                (Some(q), c) if c == q => quote = None,
                (None, '\'' | '"') => quote = Some(c),
                (None, '[') => depth += 1,
                (None, ']') if depth == 0 => return Ok((out, at)),
                (None, ']') => depth -= 1,
                _ => {}
            }
            out.push(c);
        }
    }
}
