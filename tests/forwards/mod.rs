//! Forwards on a real libvirtd with both of its firewalls, without a boot: guests are namespaces on
//! the bridge. They restart the daemon and flush its rules, so they have a private host of their own
//! (`tests/lib/forwards.sh`), and run one after the other.

#![expect(
    clippy::print_stdout,
    reason = "the table of who reaches what is for people, and probes talk to their test"
)]

mod by_command;
mod cycle;
mod matrix;
mod net;
mod probe;
mod restart;
mod rig;
mod table;
