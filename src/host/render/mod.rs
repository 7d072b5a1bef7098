//! Text that the host's tools read, made of typed values only. Nothing here does I/O.

pub mod nginx;
