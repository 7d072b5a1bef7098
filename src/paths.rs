//! Where kvmctl keeps its files.
