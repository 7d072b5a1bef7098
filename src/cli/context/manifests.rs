//! Manifests of a command line, read and checked whole before anything is changed.

use super::Ctx;
use crate::api::{Name, Object};
use crate::cli::args::{FileArgs, ValidateArg};
use crate::engine::Interrupt;
use crate::error::{Error, Result};
use crate::image::download::{Fetcher, Options, Watch};
use crate::manifest::{self, Located, Purpose, Recursion, Strictness};
use crate::shell::shell_words;

impl Ctx {
    /// Reads manifests and checks all of them before anything is changed.
    pub(crate) fn manifests(&self, args: &FileArgs, verb: &str) -> Result<Vec<Object>> {
        let recursion = if args.recursive {
            Recursion::All
        } else {
            Recursion::TopLevel
        };
        let mut stdin = std::io::stdin();
        let mut fetch = |url: &str, _: usize| fetch_manifest(url);
        let sources = manifest::load(&args.files, recursion, verb, &mut stdin, &mut fetch)?;
        let strictness = match args.validate {
            ValidateArg::Strict => Strictness::Strict,
            ValidateArg::Warn => Strictness::Warn,
            ValidateArg::Ignore => Strictness::Ignore,
        };
        let parsed = manifest::parse_all(&sources, strictness)
            .map_err(|problems| manifest::into_error(&problems))?;
        for warning in &parsed.warnings {
            self.ui.warn(&warning.to_string());
        }
        if parsed.objects.is_empty() {
            return Err(Error::usage(format!("no objects passed to {verb}")));
        }
        checked(&parsed.objects, purpose(verb))
    }
}

/// Fetches a manifest that `-f` names by URL. Plain http is the caller's own choice, as in kubectl.
fn fetch_manifest(url: &str) -> Result<Vec<u8>> {
    let fetcher = Fetcher::new(Options {
        allow_http: true,
        retries: 1,
        ..Options::default()
    });
    let mut watch = Watch {
        stop: &Interrupt::flag(),
        progress: &mut |_| {},
    };
    let text = fetcher.text(url, &mut watch).map_err(|e| {
        let look = format!("curl -fSI {}", shell_words(&[url]));
        Error::from(e).instead_hint(look)
    })?;
    Ok(text.into_bytes())
}

pub(super) fn checked(located: &[Located<Object>], purpose: Purpose) -> Result<Vec<Object>> {
    manifest::validate(located, purpose).map_err(|problems| manifest::into_error(&problems))?;
    let mut objects: Vec<Object> = located.iter().map(|l| l.value.clone()).collect();
    objects.iter_mut().for_each(manifest::normalise);
    Ok(objects)
}

/// Gives objects with `generateName` a name that nobody else will choose.
pub(super) fn named(mut objects: Vec<Object>) -> Result<Vec<Object>> {
    for object in &mut objects {
        let meta = object.meta_mut();
        if let (None, Some(stem)) = (&meta.name, meta.generate_name.take()) {
            let suffix: String = crate::api::Uid::random().short().chars().take(5).collect();
            let name = format!("{stem}{suffix}");
            meta.name = Some(Name::new(name).map_err(|e| Error::usage(e.to_string()))?);
        }
    }
    Ok(objects)
}

fn purpose(verb: &str) -> Purpose {
    match verb {
        "create" => Purpose::Create,
        "delete" | "get" => Purpose::Refer,
        _ => Purpose::Apply,
    }
}
