//! The kvmctl binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // What a tool or libvirt's client writes on our behalf is nobody else's to read.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    kvmctl::cli::run(std::env::args_os())
}
