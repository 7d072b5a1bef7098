//! Balancers on a real nginx, without a boot: targets are namespaces on a bridge. They fill the ports
//! of their host, so they have a private one (`tests/lib/balancers.sh`), and run one after the other.

#![expect(
    clippy::print_stdout,
    reason = "what nginx itself loses is told, and targets talk to their test"
)]

mod balance;
mod faults;
mod load;
mod protocols;
mod rig;
mod target;
mod undisturbed;
mod watch;
