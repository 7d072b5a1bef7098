//! Flag beats environment beats file beats default.

use std::path::PathBuf;

use crate::api::Accelerator;
use crate::paths::Paths;

use super::default_uri::DefaultUri;
use super::edit::IMPLICIT_CONTEXT;
use super::env::{self, Variable};
use super::error::ConfigError;
use super::file::{ConfigFile, Context, Privilege, check_uri};

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--context`.
    pub context: Option<String>,
    /// `--uri`.
    pub uri: Option<String>,
    /// `--pool`.
    pub pool: Option<String>,
    /// `--accelerator`.
    pub accelerator: Option<Accelerator>,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody.
    Default,
    /// The file of contexts.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

/// What a command works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the context; none when a URI was named without one.
    pub context: Option<String>,
    /// libvirt URI to open.
    pub uri: String,
    /// Who said so.
    pub uri_source: Source,
    /// When opening `uri` says that the caller has no permission, open `qemu:///session` instead,
    /// and remember with [`super::record`] which of them it was.
    pub undecided: bool,
    /// Storage pool.
    pub pool: String,
    /// Network.
    pub network: String,
    /// Accelerator.
    pub accelerator: Accelerator,
    /// Directory of the store, if somebody named one.
    pub store: Option<PathBuf>,
    /// How host tools get the rights they need.
    pub privilege: Privilege,
    /// Mirrors of image URLs.
    pub image_mirrors: std::collections::BTreeMap<String, String>,
    /// The user's own catalogue.
    pub catalogue: Option<PathBuf>,
}

impl Settings {
    /// Returns the directory of the store.
    pub fn store_path(&self, paths: &Paths) -> PathBuf {
        self.store
            .clone()
            .unwrap_or_else(|| paths.store_for(&self.uri))
    }

    /// Returns whether the context is one that somebody chose: messages then name the host.
    pub fn is_default(&self) -> bool {
        self.uri_source == Source::Default
    }
}

/// Something that somebody said, and who.
struct Said<T>(Source, T);

/// Finds out what holds; `default` is asked only when nobody names a URI.
///
/// A URI from flag or environment replaces that of a context which was named as firmly or more
/// loosely. The context's pool and network are kept only where the context itself was named, since
/// the file's current context speaks of another host.
///
/// # Errors
/// [`ConfigError::NoContext`] and [`ConfigError::Invalid`].
pub fn resolve(
    flags: &Flags,
    env: impl Fn(Variable) -> Option<String>,
    file: &ConfigFile,
    default: impl FnOnce() -> DefaultUri,
) -> Result<Settings, ConfigError> {
    let named = flag_or_env(flags.context.as_ref(), env(env::CONTEXT));
    let uri = flag_or_env(flags.uri.as_ref(), env(env::URI))
        .or_else(|| {
            env(env::LIBVIRT_URI)
                .filter(|_| named.is_none())
                .map(|uri| Said(Source::Environment, uri))
        })
        // A context that the flag names beats a URI from the environment.
        .filter(|uri| named.as_ref().is_none_or(|context| context.0 <= uri.0));
    let context = match (&named, &uri) {
        (Some(Said(_, name)), _) => find(file, name)?,
        (None, Some(_)) => None,
        (None, None) => find(file, file.current())?,
    };
    let name = match (&named, &uri) {
        (Some(Said(_, name)), _) => Some(name.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(file.current().to_owned()),
    };
    let context_source = named.map_or(Source::File, |said| said.0);
    let context = context.cloned().unwrap_or_default();
    let uri = uri.or_else(|| context.uri.clone().map(|uri| Said(context_source, uri)));
    let (uri_source, uri, undecided) = match uri {
        Some(Said(source, uri)) => (source, uri, false),
        None => {
            let default = default();
            (
                Source::Default,
                default.uri().to_owned(),
                default == DefaultUri::Try,
            )
        }
    };
    check_uri(&uri)?;
    let accelerator = env(env::ACCELERATOR).map(|text| parse_accelerator(&text));
    let accelerator = flags.accelerator.or(accelerator.transpose()?);
    let or_default = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
    Ok(Settings {
        context: name,
        uri,
        uri_source,
        undecided,
        pool: or_default(flags.pool.clone().or(context.pool)),
        network: or_default(context.network),
        accelerator: accelerator
            .or(context.accelerator)
            .unwrap_or(Accelerator::Auto),
        store: match env(env::STORE) {
            Some(path) => Some(absolute(path)?),
            None => context.store,
        },
        privilege: context.privilege.unwrap_or_default(),
        image_mirrors: file.image_mirrors.clone(),
        catalogue: file.catalogue.clone(),
    })
}

fn flag_or_env(flag: Option<&String>, env: Option<String>) -> Option<Said<String>> {
    match flag {
        Some(value) => Some(Said(Source::Flag, value.clone())),
        None => env.map(|value| Said(Source::Environment, value)),
    }
}

/// A store that depends on where one stands would be another one at every place.
fn absolute(path: String) -> Result<PathBuf, ConfigError> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(ConfigError::Invalid {
        value: path,
        what: "value of KVMCTL_STORE",
        rule: "write the whole path, from / on",
    })
}

fn find<'a>(file: &'a ConfigFile, name: &str) -> Result<Option<&'a Context>, ConfigError> {
    match file.context(name) {
        Ok(context) => Ok(Some(context)),
        Err(_) if name == IMPLICIT_CONTEXT => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_accelerator(text: &str) -> Result<Accelerator, ConfigError> {
    match text {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err(ConfigError::Invalid {
            value: text.to_owned(),
            what: "value of KVMCTL_ACCELERATOR",
            rule: "it is auto, kvm or tcg",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
currentContext: cur
contexts:
- {name: cur, uri: 'qemu+ssh://cur/system', pool: curpool, network: curnet, accelerator: tcg}
- {name: other, uri: 'qemu+ssh://other/system', pool: otherpool, store: /srv/other}
- {name: here, pool: fast}
";

    fn settle(args: &[(&str, &str)], vars: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let arg = |name| args.iter().find(|a| a.0 == name).map(|a| a.1.to_owned());
        let flags = Flags {
            context: arg("context"),
            uri: arg("uri"),
            pool: arg("pool"),
            accelerator: arg("accelerator").map(|a| parse_accelerator(&a).unwrap()),
        };
        let env = |v: Variable| vars.iter().find(|x| x.0 == v.name).map(|x| x.1.to_owned());
        let file: ConfigFile = serde_yaml::from_str(FILE).unwrap();
        resolve(&flags, env, &file, || DefaultUri::Try)
    }

    /// Flags, environment → URI, pool, context: one line for each rule.
    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        type Vars<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(Vars<'_>, Vars<'_>, &str, &str, Option<&str>)] = &[
            (&[], &[], "qemu+ssh://cur/system", "curpool", Some("cur")),
            (
                &[],
                &[("LIBVIRT_DEFAULT_URI", "l:///")],
                "l:///",
                "default",
                None,
            ),
            (
                &[],
                &[("LIBVIRT_DEFAULT_URI", "l:///"), ("KVMCTL_URI", "k:///")],
                "k:///",
                "default",
                None,
            ),
            (
                &[],
                &[("KVMCTL_CONTEXT", "other")],
                "qemu+ssh://other/system",
                "otherpool",
                Some("other"),
            ),
            (
                &[],
                &[
                    ("KVMCTL_CONTEXT", "other"),
                    ("LIBVIRT_DEFAULT_URI", "l:///"),
                ],
                "qemu+ssh://other/system",
                "otherpool",
                Some("other"),
            ),
            (
                &[],
                &[("KVMCTL_CONTEXT", "other"), ("KVMCTL_URI", "k:///")],
                "k:///",
                "otherpool",
                Some("other"),
            ),
            (
                &[("context", "other")],
                &[("KVMCTL_URI", "k:///")],
                "qemu+ssh://other/system",
                "otherpool",
                Some("other"),
            ),
            (
                &[("context", "other")],
                &[("KVMCTL_CONTEXT", "cur")],
                "qemu+ssh://other/system",
                "otherpool",
                Some("other"),
            ),
            (
                &[("uri", "f:///")],
                &[("KVMCTL_URI", "k:///")],
                "f:///",
                "default",
                None,
            ),
            (
                &[("uri", "f:///"), ("context", "other")],
                &[],
                "f:///",
                "otherpool",
                Some("other"),
            ),
            (
                &[("uri", "f:///")],
                &[("KVMCTL_CONTEXT", "other")],
                "f:///",
                "otherpool",
                Some("other"),
            ),
            (
                &[("pool", "p")],
                &[],
                "qemu+ssh://cur/system",
                "p",
                Some("cur"),
            ),
            (
                &[("context", "here")],
                &[],
                "qemu:///system",
                "fast",
                Some("here"),
            ),
            (
                &[("context", "default")],
                &[],
                "qemu:///system",
                "default",
                Some("default"),
            ),
        ];
        for (args, vars, uri, pool, context) in cases {
            let s = settle(args, vars).unwrap();
            let got = (s.uri.as_str(), s.pool.as_str(), s.context.as_deref());
            assert_eq!(got, (*uri, *pool, *context), "{args:?} {vars:?}");
        }
    }

    #[test]
    fn who_said_it_is_known_and_only_the_default_may_be_tried() {
        assert_eq!(settle(&[], &[]).unwrap().uri_source, Source::File);
        assert_eq!(
            settle(&[("uri", "x:///")], &[]).unwrap().uri_source,
            Source::Flag
        );
        let env = settle(&[], &[("LIBVIRT_DEFAULT_URI", "x:///")]).unwrap();
        assert!(!env.undecided && env.uri_source == Source::Environment);
        let default = settle(&[("context", "here")], &[]).unwrap();
        assert!(default.undecided && default.is_default());
    }

    #[test]
    fn accelerator_and_store_follow_the_same_order() {
        assert_eq!(settle(&[], &[]).unwrap().accelerator, Accelerator::Tcg);
        let env = [("KVMCTL_ACCELERATOR", "kvm"), ("KVMCTL_STORE", "/e")];
        let s = settle(&[("context", "other")], &env).unwrap();
        assert_eq!(s.accelerator, Accelerator::Kvm);
        assert_eq!(s.store, Some(PathBuf::from("/e")));
        let s = settle(&[("accelerator", "auto"), ("context", "other")], &env[..1]).unwrap();
        assert_eq!(s.accelerator, Accelerator::Auto);
        assert_eq!(s.store, Some(PathBuf::from("/srv/other")));
        let error = settle(&[], &[("KVMCTL_ACCELERATOR", "warp")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"warp\" is not a valid value of KVMCTL_ACCELERATOR: it is auto, kvm or tcg"
        );
        assert!(settle(&[("context", "nope")], &[]).is_err());
        assert!(settle(&[], &[("KVMCTL_CONTEXT", "nope")]).is_err());
    }
}
