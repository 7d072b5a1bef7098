//! The three callers that are first-class, root, a member of the libvirt group, a user with only a
//! session daemon, and the ways to a daemon: each on a private host, with real guests.
//!
//! Needs root and the test images (`tests/run.sh` builds them).

mod alone;
mod contexts;
mod doctor;
mod host;
mod member;
mod refused;
mod sshd;
mod uris;
