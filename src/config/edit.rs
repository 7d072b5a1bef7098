//! What `kvmctl config` does with the file; printing is somebody else's work.

use std::path::PathBuf;

use serde::Serialize;

use crate::api::Accelerator;

use super::error::ConfigError;
use super::file::{ConfigFile, Context, Privilege, check_name, check_uri};

/// The context of a caller whose file names none: the default URI with the default pool.
pub const IMPLICIT_CONTEXT: &str = "default";

/// One line of `config get-contexts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextRow {
    /// Whether it is the current one.
    pub current: bool,
    /// The context.
    #[serde(flatten)]
    pub context: Context,
}

/// What `config set-context` changes; what is not said stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextChange {
    /// libvirt URI.
    pub uri: Option<String>,
    /// Storage pool.
    pub pool: Option<String>,
    /// Network.
    pub network: Option<String>,
    /// Accelerator.
    pub accelerator: Option<Accelerator>,
    /// Directory of the store.
    pub store: Option<PathBuf>,
    /// How host tools get their rights.
    pub privilege: Option<Privilege>,
}

impl ConfigFile {
    /// Returns all contexts; the implicit one is there as long as the file has none of its name.
    pub fn get_contexts(&self) -> Vec<ContextRow> {
        let current = self.current();
        let implicit = Context {
            name: IMPLICIT_CONTEXT.to_owned(),
            ..Context::default()
        };
        let named = self.contexts.iter().any(|c| c.name == IMPLICIT_CONTEXT);
        let implicit = (!named).then_some(implicit);
        let all = implicit.into_iter().chain(self.contexts.iter().cloned());
        all.map(|context| ContextRow {
            current: context.name == current,
            context,
        })
        .collect()
    }

    /// Returns the name of the current context.
    pub fn current(&self) -> &str {
        self.current_context.as_deref().unwrap_or(IMPLICIT_CONTEXT)
    }

    /// Makes a context the current one; returns whether it was another before.
    ///
    /// # Errors
    /// [`ConfigError::NoContext`].
    pub fn use_context(&mut self, name: &str) -> Result<bool, ConfigError> {
        if name != IMPLICIT_CONTEXT {
            self.context(name)?;
        }
        let changed = self.current() != name;
        self.current_context = (name != IMPLICIT_CONTEXT).then(|| name.to_owned());
        Ok(changed)
    }

    /// Makes or changes a context; returns whether it is a new one.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], and [`ConfigError::NoUri`] for a new one without a URI.
    pub fn set_context(&mut self, name: &str, change: ContextChange) -> Result<bool, ConfigError> {
        check_name(name)?;
        change.uri.as_deref().map_or(Ok(()), check_uri)?;
        let known = self.contexts.iter().position(|c| c.name == name);
        if known.is_none() && change.uri.is_none() && name != IMPLICIT_CONTEXT {
            return Err(ConfigError::NoUri(name.to_owned()));
        }
        let at = known.unwrap_or_else(|| {
            self.contexts.push(Context {
                name: name.to_owned(),
                ..Context::default()
            });
            self.contexts.len() - 1
        });
        let context = &mut self.contexts[at];
        context.uri = change.uri.or(context.uri.take());
        context.pool = change.pool.or(context.pool.take());
        context.network = change.network.or(context.network.take());
        context.accelerator = change.accelerator.or(context.accelerator);
        context.store = change.store.or(context.store.take());
        context.privilege = change.privilege.or(context.privilege);
        Ok(known.is_none())
    }

    /// Removes a context; the implicit one is current again if it was.
    ///
    /// # Errors
    /// [`ConfigError::NoContext`].
    pub fn delete_context(&mut self, name: &str) -> Result<(), ConfigError> {
        self.context(name)?;
        self.contexts.retain(|context| context.name != name);
        if self.current_context.as_deref() == Some(name) {
            self.current_context = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    fn uri(uri: &str) -> ContextChange {
        ContextChange {
            uri: Some(uri.to_owned()),
            ..ContextChange::default()
        }
    }

    #[test]
    fn contexts_are_made_used_changed_and_deleted() {
        let mut config = ConfigFile::default();
        assert_eq!(config.current(), "default");
        assert!(
            config
                .set_context("kvm1", uri("qemu+ssh://kvm1/system"))
                .unwrap()
        );
        let pool = ContextChange {
            pool: Some("fast".to_owned()),
            ..ContextChange::default()
        };
        assert!(!config.set_context("kvm1", pool).unwrap());
        assert!(config.use_context("kvm1").unwrap());
        assert!(!config.use_context("kvm1").unwrap());
        let rows = config.get_contexts();
        let marks: Vec<_> = rows
            .iter()
            .map(|r| (r.context.name.as_str(), r.current))
            .collect();
        assert_eq!(marks, [("default", false), ("kvm1", true)]);
        let kvm1 = config.context("kvm1").unwrap();
        assert_eq!(kvm1.uri.as_deref(), Some("qemu+ssh://kvm1/system"), "kept");
        assert_eq!(kvm1.pool.as_deref(), Some("fast"));
        config.delete_context("kvm1").unwrap();
        assert_eq!(config, ConfigFile::default());
        assert!(!config.use_context("default").unwrap());
    }

    #[test]
    fn a_context_that_is_not_there_is_refused_in_kubectls_words() {
        let mut config = ConfigFile::default();
        config
            .set_context("kvm-one", uri("qemu:///system"))
            .unwrap();
        let before = config.clone();
        let error = Error::from(config.use_context("nope").unwrap_err());
        assert_eq!(error.message(), "no context exists with the name: \"nope\"");
        assert_eq!(error.kind(), Kind::NotFound);
        let near = Error::from(config.use_context("kvm-on").unwrap_err());
        assert_eq!(near.hints(), ["did you mean \"kvm-one\"?"]);
        assert!(config.delete_context("nope").is_err());
        assert!(config.set_context("new", ContextChange::default()).is_err());
        assert!(config.set_context("a b", uri("qemu:///system")).is_err());
        assert!(config.set_context("a", uri("a\nb")).is_err());
        assert_eq!(config, before, "nothing was changed");
    }
}
