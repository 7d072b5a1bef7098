//! Where a run can be killed: at each system call that makes something last.

/// The calls, each swept by itself: strace counts every call by its own number, so one `when=N` for
/// all of them together ends a run at the first one to get there, and most are never the one. It
/// counts every thread by itself, too, so that runs are on one thread (`KVMCTL_ONE_THREAD`): the
/// N-th call of a thread that is never the first would never be the one.
const LASTING: [&str; 7] = [
    "fsync",
    "fdatasync",
    "?rename",
    "renameat",
    "?renameat2",
    "?unlink",
    "unlinkat",
];

/// A walk over all of them: `place`, then `killed` or `survived`.
pub(crate) struct Sweep {
    call: usize,
    n: usize,
    kills: usize,
}

impl Sweep {
    pub(crate) const fn new() -> Self {
        Self {
            call: 0,
            n: 1,
            kills: 0,
        }
    }

    /// Walks over the calls that name and unname files only, for runs that are long: a file is synced
    /// right before it is named.
    pub(crate) const fn of_names() -> Self {
        let call = 2;
        Self {
            call,
            ..Self::new()
        }
    }

    /// Returns the call and its number; nothing when all were tried.
    pub(crate) fn place(&self) -> Option<(&'static str, usize)> {
        assert!(self.n < 200, "the sweep does not end");
        LASTING.get(self.call).map(|call| (*call, self.n))
    }

    /// The run died there: on to the next call of that sort.
    pub(crate) const fn killed(&mut self) {
        self.n += 1;
        self.kills += 1;
    }

    /// The run made fewer calls of that sort: on to the next sort.
    pub(crate) const fn survived(&mut self) {
        self.n = 1;
        self.call += 1;
    }

    /// Returns how often a run has died.
    pub(crate) const fn kills(&self) -> usize {
        self.kills
    }
}
