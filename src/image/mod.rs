//! Base images: catalogue, download, verification.
