//! The kvmctl binary.

fn main() {}
