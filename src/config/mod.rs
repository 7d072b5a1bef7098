//! Contexts: which libvirt, which pool, which network, when nobody says.
//!
//! Flag beats environment beats file beats default. The file is `config.yaml`
//! ([`crate::paths::Paths::config_file`]); [`resolve`] turns all four into one [`Settings`].

mod default_uri;
mod edit;
pub mod env;
mod error;
mod file;
mod resolve;

pub use default_uri::{
    Decision, DefaultUri, Facts, SESSION_URI, SYSTEM_URI, SocketFact, decide, default_uri, forget,
    is_recorded, record,
};
pub use edit::{ContextChange, ContextRow, IMPLICIT_CONTEXT};
pub use error::ConfigError;
pub use file::{ConfigFile, Context, Privilege};
pub use resolve::{Flags, Settings, Source, resolve};
