//! Pulling: an image of the catalogue, or a file from a URL.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::store::{Facts, put};
use super::{LOCK_WAIT, architecture, checksum, limits, or_signal, present, private_dir};
use crate::api::{Kind, Name, ObjectKey, Reporter};
use crate::engine::Interrupt;
use crate::error::{Error, Result};
use crate::image::download::{Fetcher, Options, Progress, Watch};
use crate::image::import as staging;
use crate::observe::World;
use crate::plan::Outcome;

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Alias of the catalogue or URL.
    pub source: String,
    /// Name of the image, when it comes from a URL.
    pub name: Option<Name>,
    /// Sum of the file, when it comes from a URL.
    pub checksum: Option<String>,
    /// Take a URL without a sum.
    pub without_checksum: bool,
    /// Allow plain http.
    pub allow_http: bool,
    /// User that the image gives the SSH key to.
    pub default_user: Option<String>,
}

/// Pulls an image.
///
/// # Errors
/// Usage for an unknown alias or a URL without name and sum; whatever stops a download.
pub fn pull(
    world: &World,
    request: &PullRequest,
    reporter: &dyn Reporter,
) -> Result<(ObjectKey, Outcome)> {
    if request.source.contains("://") {
        return pull_url(world, request, reporter);
    }
    let catalogue = world.catalogue()?;
    let choice = catalogue.choose(&request.source, architecture(world)?)?;
    let key = ObjectKey::new(Kind::Image, choice.entry.alias.clone());
    if present(world, choice.entry.alias.as_str())?.is_some() {
        return Ok((key, Outcome::Unchanged));
    }
    let _lock = world
        .store()?
        .lock_object(Kind::Image, key.name.as_str(), LOCK_WAIT)?;
    if present(world, choice.entry.alias.as_str())?.is_some() {
        return Ok((key, Outcome::Unchanged));
    }
    let mirrors = world.mirrors()?;
    let fetcher = Fetcher::new(Options {
        allow_http: request.allow_http || mirrors.allow_http(&choice.source.url),
        ..Options::default()
    });
    let dir = download_dir(world)?;
    let label = format!("pulling {}", key.name);
    let mut progress = |p: Progress| reporter.progress(&key, &label, p.received, p.total);
    let stop = Interrupt::flag();
    let mut watch = Watch {
        stop: &stop,
        progress: &mut progress,
    };
    let pulled = fetcher
        .pull(&choice, &mirrors, &dir, &mut watch)
        .map_err(or_signal)?;
    let facts = Facts {
        name: key.name.clone(),
        os: Some(choice.entry.os.clone()),
        default_user: Some(choice.entry.default_user.clone()),
        firmware: Some(choice.firmware()),
        architecture: Some(choice.architecture),
        source_url: Some(pulled.url.clone()),
    };
    take_file(
        world,
        &key,
        &pulled.path,
        pulled.sha256,
        facts,
        false,
        reporter,
    )?;
    let _ = std::fs::remove_file(&pulled.path);
    Ok((key, Outcome::Created))
}

fn pull_url(
    world: &World,
    request: &PullRequest,
    reporter: &dyn Reporter,
) -> Result<(ObjectKey, Outcome)> {
    let Some(name) = request.name.clone() else {
        return Err(Error::usage("an image from a URL needs a name")
            .hint(format!("kvmctl images pull {} --name NAME", request.source)));
    };
    let checksum = match &request.checksum {
        Some(hex) => Some(checksum(hex)?),
        None if request.without_checksum => None,
        None => {
            return Err(Error::usage("an image from a URL needs a checksum")
                .hint("add --checksum SHA256, or --insecure-no-checksum to go without"));
        }
    };
    let key = ObjectKey::new(Kind::Image, name.clone());
    if present(world, name.as_str())?.is_some() {
        return Ok((key, Outcome::Unchanged));
    }
    let _lock = world
        .store()?
        .lock_object(Kind::Image, name.as_str(), LOCK_WAIT)?;
    let fetcher = Fetcher::new(Options {
        allow_http: request.allow_http,
        ..Options::default()
    });
    let dir = download_dir(world)?;
    let dest = dir.join(format!("{name}.download"));
    let label = format!("pulling {name}");
    let mut progress = |p: Progress| reporter.progress(&key, &label, p.received, p.total);
    let stop = Interrupt::flag();
    let mut watch = Watch {
        stop: &stop,
        progress: &mut progress,
    };
    let got = fetcher
        .fetch(&request.source, &dest, checksum.as_ref(), &mut watch)
        .map_err(or_signal)?;
    let mut facts = Facts::by_name(world, &name)?;
    facts.source_url = Some(request.source.clone());
    facts.default_user = request.default_user.clone().or(facts.default_user);
    let result = take_file(
        world,
        &key,
        &got.path,
        Some(got.sha256),
        facts,
        false,
        reporter,
    );
    let _ = std::fs::remove_file(&got.path);
    result.map(|()| (key, Outcome::Created))
}

fn take_file(
    world: &World,
    key: &ObjectKey,
    path: &Path,
    sha256: Option<crate::image::Sha256>,
    facts: Facts,
    sparse: bool,
    reporter: &dyn Reporter,
) -> Result<()> {
    let file = File::open(path)
        .map_err(|e| Error::failed(format!("cannot read {}", path.display())).caused_by(e))?;
    let pool = world.host()?.pool(&world.settings().pool)?;
    let limits = limits(&pool, sparse)?;
    let mut progress = |done, total| reporter.progress(key, "checking", done, Some(total));
    let stop = Interrupt::flag();
    let staged =
        staging::stage_private(file, sha256, &limits, &stop, &mut progress).map_err(or_signal)?;
    put(world, key, staged, facts, reporter)
}

fn download_dir(world: &World) -> Result<PathBuf> {
    private_dir(&world.paths().cache_dir().join("downloads"))
}
