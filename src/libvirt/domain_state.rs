//! What a domain is doing, and why: virDomainState and the reasons that go with each.

/// What a domain is doing, in the words kvmctl has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    /// Its CPUs run.
    Running,
    /// Its CPUs are suspended.
    Paused {
        /// Because a disk failed or is full.
        io_error: bool,
    },
    /// The guest is shutting down.
    ShuttingDown,
    /// It is off.
    Off,
    /// It crashed.
    Crashed,
    /// The guest sleeps.
    Suspended,
    /// libvirt does not know.
    Unknown,
}

impl DomainState {
    /// Reads virDomainState and its reason.
    pub(super) const fn from_raw(state: i64, reason: i64) -> Self {
        match state {
            1 | 2 => Self::Running,
            // VIR_DOMAIN_PAUSED_IOERROR
            3 => Self::Paused {
                io_error: reason == 5,
            },
            4 => Self::ShuttingDown,
            5 if reason == 3 => Self::Crashed,
            5 => Self::Off,
            6 => Self::Crashed,
            7 => Self::Suspended,
            _ => Self::Unknown,
        }
    }

    /// Returns whether there is a QEMU process.
    pub const fn is_active(self) -> bool {
        matches!(
            self,
            Self::Running | Self::Paused { .. } | Self::ShuttingDown | Self::Suspended
        )
    }

    /// Returns whether its CPUs are suspended by the host.
    pub const fn is_paused(self) -> bool {
        matches!(self, Self::Paused { .. })
    }
}

/// Words a state and its reason as a person does. What a newer libvirt adds has no reason here.
pub(super) fn words(state: i32, reason: i32) -> String {
    // In the order of virDomainRunningReason and its like; 0 is always that nobody knows.
    let (state, reasons): (&str, &[&str]) = match state {
        1 => (
            "running",
            &[
                "booted",
                "migrated",
                "restored",
                "from a snapshot",
                "resumed",
                "migration cancelled",
                "save cancelled",
                "woken up",
                "guest panic",
                "post-copy migration",
                "post-copy migration failed",
            ],
        ),
        2 => ("blocked", &[]),
        3 => (
            "paused",
            &[
                "by the user",
                "migrating",
                "saving",
                "dumping",
                "I/O error",
                "watchdog",
                "from a snapshot",
                "shutting down",
                "taking a snapshot",
                "guest panic",
                "starting up",
                "post-copy migration",
                "post-copy migration failed",
                "libvirt failed",
            ],
        ),
        4 => ("shutting down", &["by the user"]),
        5 => (
            "shut off",
            &[
                "by the guest",
                "power cut",
                "QEMU crashed",
                "migrated",
                "saved",
                "failed to start",
                "from a snapshot",
                "by the daemon",
            ],
        ),
        6 => ("crashed", &["guest panic"]),
        7 => ("suspended", &[]),
        _ => ("unknown", &[]),
    };
    let reason = usize::try_from(reason).ok().and_then(|r| r.checked_sub(1));
    match reason.and_then(|r| reasons.get(r)) {
        Some(reason) => format!("{state} ({reason})"),
        None => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::words;
    use virt::sys;

    #[test]
    fn reasons_stand_at_their_numbers() {
        let word = |state: u32, reason: u32| {
            words(
                i32::try_from(state).unwrap(),
                i32::try_from(reason).unwrap(),
            )
        };
        let (running, paused) = (sys::VIR_DOMAIN_RUNNING, sys::VIR_DOMAIN_PAUSED);
        let off = sys::VIR_DOMAIN_SHUTOFF;
        for (state, reason, said) in [
            (running, sys::VIR_DOMAIN_RUNNING_BOOTED, "running (booted)"),
            (
                running,
                sys::VIR_DOMAIN_RUNNING_UNPAUSED,
                "running (resumed)",
            ),
            (
                running,
                sys::VIR_DOMAIN_RUNNING_WAKEUP,
                "running (woken up)",
            ),
            (paused, sys::VIR_DOMAIN_PAUSED_USER, "paused (by the user)"),
            (paused, sys::VIR_DOMAIN_PAUSED_IOERROR, "paused (I/O error)"),
            (
                paused,
                sys::VIR_DOMAIN_PAUSED_STARTING_UP,
                "paused (starting up)",
            ),
            (
                off,
                sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN,
                "shut off (by the guest)",
            ),
            (
                off,
                sys::VIR_DOMAIN_SHUTOFF_DESTROYED,
                "shut off (power cut)",
            ),
            (off, sys::VIR_DOMAIN_SHUTOFF_SAVED, "shut off (saved)"),
            (
                off,
                sys::VIR_DOMAIN_SHUTOFF_DAEMON,
                "shut off (by the daemon)",
            ),
            (
                sys::VIR_DOMAIN_CRASHED,
                sys::VIR_DOMAIN_CRASHED_PANICKED,
                "crashed (guest panic)",
            ),
            (running, 99, "running"),
            (off, 0, "shut off"),
            (99, 1, "unknown"),
        ] {
            assert_eq!(word(state, reason), said);
        }
    }
}
