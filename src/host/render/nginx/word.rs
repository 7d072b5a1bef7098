//! The words of nginx's configuration, and the only writer of them.
//!
//! nginx has no quoting that holds for every directive: `$` is a variable and `*` a pattern within
//! quotes, too. So a word is never quoted; it is of a type whose texts need none.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::api::{HostFile, HostName, PortNumber, Quantity, Span, Uid};

/// What may stand in a directive. No type that holds any text has it.
pub(super) trait Word {
    /// Appends it.
    fn put(&self, text: &mut String);
}

/// A text of the program itself.
impl Word for &'static str {
    fn put(&self, text: &mut String) {
        text.push_str(self);
    }
}

macro_rules! printed {
    ($($name:ty),+ $(,)?) => {
        $(impl Word for $name {
            fn put(&self, text: &mut String) {
                // Writing to a string does not fail.
                let _ = write!(text, "{self}");
            }
        })+
    };
}

printed!(
    u16, u32, u64, usize, SocketAddr, PortNumber, HostName, HostFile
);

/// Sizes are given in bytes; nginx counts them in a signed number.
impl Word for Quantity {
    fn put(&self, text: &mut String) {
        let most = i64::MAX.unsigned_abs();
        self.bytes().min(most).put(text);
    }
}

/// Times are given in milliseconds, at least one: 0 would mean never or at once.
impl Word for Span {
    fn put(&self, text: &mut String) {
        const MOST: Duration = Duration::from_secs(365 * 24 * 3600);
        let millis = self.duration().min(MOST).as_millis().max(1);
        let _ = write!(text, "{millis}ms");
    }
}

/// Two words that nginx reads as one: `weight=3`.
pub(super) struct Joined<'a>(pub(super) &'static str, pub(super) &'a dyn Word);

impl Word for Joined<'_> {
    fn put(&self, text: &mut String) {
        text.push_str(self.0);
        self.1.put(text);
    }
}

/// The name of what belongs to one balancer: its upstream and the memory of it.
pub(super) struct Own(pub(super) Uid);

impl Word for Own {
    fn put(&self, text: &mut String) {
        let _ = write!(text, "kvmctl_{}", self.0.short());
        // All of it: two balancers may have the same first digits.
        for byte in &self.0.as_bytes()[4..] {
            let _ = write!(text, "{byte:02x}");
        }
    }
}

/// The file in which the requests of one balancer are counted.
pub(super) struct CountLog(pub(super) Uid);

impl Word for CountLog {
    fn put(&self, text: &mut String) {
        let _ = write!(text, "logs/{}.gz", self.0);
    }
}

/// Where a client without TLS is sent: the port is left out where it is the usual one.
pub(super) struct HttpsUrl(pub(super) u16);

impl Word for HttpsUrl {
    fn put(&self, text: &mut String) {
        text.push_str("https://$host");
        if self.0 != 443 {
            let _ = write!(text, ":{}", self.0);
        }
        text.push_str("$request_uri");
    }
}

/// A text that is being written, directive by directive.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    /// Writes `name words…;`.
    pub(super) fn line(&mut self, name: &'static str, words: &[&dyn Word]) {
        self.open(name, words);
        self.text.push_str(";\n");
    }

    /// Writes `name words… { … }`.
    pub(super) fn block(
        &mut self,
        name: &'static str,
        words: &[&dyn Word],
        body: impl FnOnce(&mut Self),
    ) {
        self.open(name, words);
        self.text.push_str(" {\n");
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.indent();
        self.text.push_str("}\n");
    }

    /// Writes a comment of the program's own.
    pub(super) fn comment(&mut self, words: &'static str) {
        self.indent();
        let _ = writeln!(self.text, "# {words}");
    }

    /// Returns what was written.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, name: &'static str, words: &[&dyn Word]) {
        self.indent();
        self.text.push_str(name);
        for word in words {
            self.text.push(' ');
            word.put(&mut self.text);
        }
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.text.push_str("    ");
        }
    }
}
