//! The one error people see: what is wrong, why, what to do, and the exit code that follows.
//!
//! Modules state facts in `thiserror` enums of their own; the `From` impls below word them. Nothing
//! else in the crate chooses an exit code.

use std::fmt;

/// What sort of failure it is; each sort has an exit code (DESIGN: 0 to 9, 130, 143).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 1: anything else; for `diff`, differences found.
    Failed,
    /// 2: the command line or a manifest is wrong; nothing was changed.
    Usage,
    /// 3: with `--error-unchanged`, nothing needed changing.
    Unchanged,
    /// 4: a named object does not exist.
    NotFound,
    /// 5: exists already, is taken, is not ours, or cannot be changed.
    Conflict,
    /// 6: timed out waiting; the state was left as reported.
    Timeout,
    /// 7: the store or the object is held by another process.
    Busy,
    /// 8: libvirt or a tool is unreachable or missing.
    Unavailable,
    /// 9: some objects of several failed.
    Partial,
    /// 130: SIGINT.
    Interrupted,
    /// 143: SIGTERM.
    Terminated,
    /// The reader of our output went away: a signal to stop quietly.
    BrokenPipe,
    /// The exit code of a command that ran inside an instance; nothing is printed.
    Remote(u8),
}

impl Kind {
    /// Returns the exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unchanged => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Timeout => 6,
            Self::Busy => 7,
            Self::Unavailable => 8,
            Self::Partial => 9,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::BrokenPipe => 0,
            Self::Remote(code) => code,
        }
    }

    /// Returns whether somebody else ended the command: then nothing has failed.
    pub const fn is_signal(self) -> bool {
        matches!(
            self,
            Self::Interrupted | Self::Terminated | Self::BrokenPipe
        )
    }
}

/// Stands in hints for the same command, given as root: whoever prints it knows the command.
pub const AS_ROOT: &str = "sudo kvmctl …";

/// How a hint to give the same command with a flag more begins, until whoever shows it knows that
/// command.
pub const AGAIN: &str = "kvmctl … ";

/// What went wrong, for a person.
///
/// Printed as `error: MESSAGE`, a line `  caused by: …` for each cause, and `hint: …` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

/// The result of nearly everything above the pure modules.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error; `message` has no full stop and no newline.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Makes an error that exits with 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Makes an error that exits with 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Makes an error that exits with 4.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Makes an error that exits with 5.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Adds a cause, the nearest first.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds every link of an error's source chain as a cause.
    #[must_use]
    pub fn with_chain(mut self, error: &dyn std::error::Error) -> Self {
        let mut link = Some(error);
        while let Some(cause) = link {
            self.causes.push(cause.to_string());
            link = cause.source();
        }
        self
    }

    /// Adds what to do about it; an exact command where there is one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Advises to give the same command with a flag more.
    #[must_use]
    pub fn hint_again_with(self, flag: &str) -> Self {
        self.hint(format!("{AGAIN}{flag}"))
    }

    /// Advises to give the same command as root.
    #[must_use]
    pub fn hint_as_root(self) -> Self {
        self.hint(AS_ROOT)
    }

    /// Replaces what was to be done about it, where whoever called knows better.
    #[must_use]
    pub fn instead_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints = vec![hint.into()];
        self
    }

    /// Puts what was being done before the message, which becomes the first cause.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.message, doing.into());
        self.causes.insert(0, inner);
        self
    }

    /// Makes it another sort of failure.
    #[must_use]
    pub const fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Returns the sort of failure.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns what is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns why, the nearest cause first.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// Returns what to do.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Returns the candidate most like `word`, if one is near enough to be a slip of the keyboard.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(word, c), c))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}
