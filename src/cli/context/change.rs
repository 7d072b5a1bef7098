//! Operations over many objects, with what came of each told as soon as it is known.

use std::sync::Mutex;

use super::Ctx;
use super::manifests::{checked, named};
use super::results::foreseen;
use crate::api::{Object, ObjectKey, Reporter};
use crate::cli::args::DryRunArgs;
use crate::engine::{
    self, Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun, Interrupt, Place,
};
use crate::error::{Error, Kind, Result};
use crate::manifest::{self, Located, Purpose};
use crate::observe::World;
use crate::output::{self, OutputFormat};
use crate::plan::Outcome;
use crate::store::{Access, Store};

impl Ctx {
    /// Applies objects and prints what came of each.
    pub(crate) fn apply(&self, objects: Vec<Object>, options: &ApplyOptions) -> Result<()> {
        let objects = prepared(objects, options.mode)?;
        if let DryRun::Client { explain } = options.dry_run {
            return match explain {
                true => self.explain_unseen(&objects),
                false => self.client_dry_run(objects),
            };
        }
        let (results, dry_run) = (self.results()?, options.dry_run);
        let tell = |applied: &Applied| {
            self.print_notes(applied);
            match self.explains(dry_run) {
                true => self.print_explanation(&told(applied, dry_run), &applied.explanation),
                false => results.tell(&applied.key, &word(applied, dry_run)),
            }
        };
        let done = self.carry_out(objects.clone(), options, tell);
        let keys: Vec<ObjectKey> = objects.iter().filter_map(Object::key).collect();
        results.show(&keys, |world, key| match dry_run {
            DryRun::None => world.get(key),
            _ => {
                let wanted = objects.iter().find(|o| o.key().as_ref() == Some(key));
                wanted.map_or_else(|| world.get(key), |wanted| foreseen(world, wanted))
            }
        })?;
        done.map(drop)
    }

    /// Applies objects; the caller prints.
    pub(crate) fn apply_quietly(
        &self,
        objects: Vec<Object>,
        options: &ApplyOptions,
    ) -> Result<Vec<Outcome>> {
        self.carry_out(prepared(objects, options.mode)?, options, |applied| {
            self.print_notes(applied);
            Ok(())
        })
    }

    fn carry_out(
        &self,
        objects: Vec<Object>,
        options: &ApplyOptions,
        print: impl Fn(&Applied) -> Result<()> + Sync,
    ) -> Result<Vec<Outcome>> {
        self.begin_explanation(options.dry_run)?;
        Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
        let reporter = self.reporter();
        let outcomes = Mutex::new(Vec::new());
        let batch = engine::apply(
            self.world()?,
            objects,
            options,
            reporter.as_ref(),
            &|applied| {
                outcomes
                    .lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .push(applied.outcome);
                print(applied)
            },
        )?;
        batch.into_result(|e| self.ui.error(e))?;
        let outcomes = outcomes.into_inner().unwrap_or_else(|e| e.into_inner());
        if options.error_unchanged && !outcomes.iter().any(|o| o.changed()) {
            return Err(Error::new(Kind::Unchanged, "nothing needed changing"));
        }
        Ok(outcomes)
    }

    /// `--dry-run=client`: contacts nobody, prints what would be sent.
    fn client_dry_run(&self, objects: Vec<Object>) -> Result<()> {
        match self.format(output::RESULT_FORMATS_AND_TABLE)? {
            OutputFormat::Table | OutputFormat::Wide => {
                let mut keys = objects.iter().filter_map(Object::key);
                keys.try_for_each(|key| self.ui.out_line(&format!("{key} created (dry run)")))
            }
            OutputFormat::Yaml => {
                let separator = if objects.len() > 1 { "---\n" } else { "" };
                objects.iter().try_for_each(|object| {
                    let text = manifest::to_manifest_yaml(object);
                    self.ui.out(&format!("{separator}{text}"))
                })
            }
            format => {
                let alone = objects.len() == 1;
                self.print_result(format, objects, alone)
            }
        }
    }

    fn print_notes(&self, applied: &Applied) {
        for note in &applied.notes {
            self.ui.status(&format!("{}: {note}", applied.key));
        }
    }

    pub(crate) fn print_applied(&self, applied: &Applied, dry_run: DryRun) -> Result<()> {
        self.print_notes(applied);
        if self.explains(dry_run) {
            return self.print_explanation(&told(applied, dry_run), &applied.explanation);
        }
        let results = self.results()?;
        results.tell(&applied.key, &word(applied, dry_run))?;
        results.show(std::slice::from_ref(&applied.key), World::get)
    }

    /// Returns whether the commands that would do the same are asked for.
    const fn explains(&self, dry_run: DryRun) -> bool {
        match dry_run {
            DryRun::None => false,
            DryRun::Client { explain } => explain,
            DryRun::Server { explain } => explain || self.global.verbose > 0,
        }
    }

    /// Begins the shell script that an explanation is.
    pub(crate) fn begin_explanation(&self, dry_run: DryRun) -> Result<()> {
        if !self.explains(dry_run) {
            return Ok(());
        }
        let (settings, _) = self.resolve()?;
        let uri = crate::shell::shell_words(&[&settings.uri]);
        self.ui
            .out_line(&format!("export LIBVIRT_DEFAULT_URI={uri}\numask 077"))
    }

    /// Prints what would happen as a comment, and the commands.
    fn print_explanation(&self, outcome: &str, commands: &[String]) -> Result<()> {
        // In one piece: others of the same run print at the same time.
        self.ui
            .out_line(&format!("# {outcome}\n{}", commands.join("\n")))
    }

    /// `--dry-run=client --explain-plan`: the commands, as far as the manifest and the store tell.
    fn explain_unseen(&self, objects: &[Object]) -> Result<()> {
        let explain = true;
        self.begin_explanation(DryRun::Client { explain })?;
        let (settings, paths) = self.resolve()?;
        let store = Store::open(settings.store_path(&paths), Access::Read)?;
        let place = Place {
            pool: settings.pool,
            network: settings.network,
            accelerator: settings.accelerator,
        };
        for object in objects {
            let Some(key) = object.key() else { continue };
            let commands = engine::explain_unseen(&place, &store, object)?;
            self.print_explanation(&format!("{key} created (dry run)"), &commands)?;
        }
        Ok(())
    }

    /// Deletes objects and prints what came of each.
    pub(crate) fn delete(&self, keys: Vec<ObjectKey>, options: &DeleteOptions) -> Result<()> {
        let format = self.format(output::DELETION_FORMATS)?;
        Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
        self.begin_explanation(options.dry_run)?;
        let reporter = self.reporter();
        let batch = engine::delete(
            self.world()?,
            keys,
            options,
            reporter.as_ref(),
            &|applied| {
                self.print_notes(applied);
                let suffix = dry_run_suffix(options.dry_run);
                if format == OutputFormat::Name {
                    self.ui.out_line(&applied.key.to_string())
                } else {
                    let (kind, name) = (applied.key.kind, &applied.key.name);
                    let told = format!("{kind} \"{name}\" {}{suffix}", applied.outcome);
                    match self.explains(options.dry_run) {
                        true => self.print_explanation(&told, &applied.explanation),
                        false => self.ui.out_line(&told),
                    }
                }
            },
        )?;
        batch.into_result(|e| self.ui.error(e))
    }

    /// Changes objects one way, in parallel, and prints what came of each.
    pub(crate) fn change(
        &self,
        keys: Vec<ObjectKey>,
        error_unchanged: bool,
        change: impl Fn(&World, &ObjectKey, &dyn Reporter) -> Result<Outcome> + Sync,
    ) -> Result<()> {
        Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
        let world = self.world()?;
        world.host()?;
        let reporter = self.reporter();
        let results = self.results()?;
        let changed = std::sync::atomic::AtomicBool::new(false);
        let batch = engine::run_all(&keys, engine::WIDTH, |key| {
            let outcome = change(world, key, reporter.as_ref());
            reporter.finished(key);
            let outcome = outcome?;
            changed.fetch_or(outcome.changed(), std::sync::atomic::Ordering::Relaxed);
            results.tell(key, &outcome.to_string())
        });
        results.show(&keys, World::get)?;
        batch.into_result(|e| self.ui.error(e))?;
        if error_unchanged && !changed.into_inner() {
            return Err(Error::new(Kind::Unchanged, "nothing needed changing"));
        }
        Ok(())
    }

    /// Reads `--dry-run` and `--explain-plan`.
    pub(crate) fn dry_run(&self, args: &DryRunArgs) -> Result<DryRun> {
        let explain = args.explain_plan;
        Ok(match self.where_to_stop(args.dry_run.as_deref())? {
            DryRun::Server { .. } => DryRun::Server { explain },
            DryRun::Client { .. } => DryRun::Client { explain },
            DryRun::None if explain => DryRun::Server { explain },
            DryRun::None => DryRun::None,
        })
    }

    /// Reads the value of `--dry-run`.
    pub(crate) fn where_to_stop(&self, given: Option<&str>) -> Result<DryRun> {
        match given {
            None | Some("none") => Ok(DryRun::None),
            Some("client") => Ok(DryRun::Client { explain: false }),
            Some("server") => Ok(DryRun::Server { explain: false }),
            Some("") => Err(Error::usage("--dry-run needs a value")
                .hint("--dry-run=client contacts nobody")
                .hint("--dry-run=server checks against libvirt")),
            Some(other) => Err(Error::usage(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }
}

/// Checks objects and gives each its name.
fn prepared(objects: Vec<Object>, mode: ApplyMode) -> Result<Vec<Object>> {
    let purpose = match mode {
        ApplyMode::Create => Purpose::Create,
        ApplyMode::Apply | ApplyMode::Replace => Purpose::Apply,
    };
    let located: Vec<Located<Object>> = objects
        .into_iter()
        .map(|o| Located::elsewhere(o, "the command line"))
        .collect();
    named(checked(&located, purpose)?)
}

/// Returns what stands behind the word for something that was not done.
pub(crate) const fn dry_run_suffix(dry_run: DryRun) -> &'static str {
    match dry_run {
        DryRun::None => "",
        DryRun::Client { .. } => " (dry run)",
        DryRun::Server { .. } => " (server dry run)",
    }
}

/// Words what came of an object, or would come.
fn word(applied: &Applied, dry_run: DryRun) -> String {
    match dry_run {
        DryRun::None => applied.outcome.to_string(),
        _ => format!("{} (server dry run)", applied.outcome),
    }
}

fn told(applied: &Applied, dry_run: DryRun) -> String {
    format!("{} {}", applied.key, word(applied, dry_run))
}
