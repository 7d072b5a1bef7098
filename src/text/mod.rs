//! Text that goes out: what a terminal must not obey, and YAML that every parser reads alike. Pure.

pub mod escape;
pub mod yaml;
