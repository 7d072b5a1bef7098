//! `create`: flags become a manifest, which goes the same way as `apply`.
//!
//! One file a kind; each only builds an object, so that flags and YAML cannot drift apart.

pub(crate) mod instance;
pub(crate) mod instance_type;
pub(crate) mod secret;
