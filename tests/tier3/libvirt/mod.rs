//! The door to libvirt against a real daemon with real QEMU machines under TCG.
//!
//! Most machines have an empty disk: what QEMU and libvirt do needs no guest.

pub(super) mod agent;
mod bench;
mod console;
mod machines;
mod storage;
