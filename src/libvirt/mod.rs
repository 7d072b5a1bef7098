//! The only door to libvirt, and the only user of the `virt` crate.
