//! Base images: where they come from, what they are, and what they are called in the pool.
//!
//! An image is somebody else's file, and `qemu-img info` on a crafted one has read and written
//! host files (CVE-2024-4467). So no tool sees an image before our own parser has: [`import`]
//! takes a private copy, [`header`] reads it, and only then the caller uploads it under a name made
//! from its content. [`catalogue`] knows where the distributions publish theirs, [`download`]
//! brings them here.

pub mod catalogue;
pub mod decompress;
mod digest;
pub mod download;
mod error;
pub mod ext4;
pub mod header;
pub mod import;
pub mod record;
pub mod tar;

pub use catalogue::{Architecture, Catalogue, Mirrors};
pub use digest::{Algorithm, Checksum, Hasher, Sha256};
pub use error::{CatalogueError, DownloadError, ImageError, Problem};
pub use header::{Compression, Inspected, Limits, PartitionTable, inspect};
pub use import::Staged;
pub use record::{ImageRecord, VolumeName};
