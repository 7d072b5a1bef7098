//! Operations over many objects, with what came of each told as soon as it is known.

use std::sync::Mutex;

use super::Ctx;
use super::manifests::{checked, named};
use crate::api::{Object, ObjectKey, Reporter, Timestamp};
use crate::cli::args::DryRunArgs;
use crate::engine::{self, Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun, Interrupt};
use crate::error::{Error, Kind, Result};
use crate::manifest::{self, Located, Purpose};
use crate::observe::World;
use crate::output::{self, OutputFormat};
use crate::plan::Outcome;

impl Ctx {
    /// Applies objects and prints what came of each.
    pub(crate) fn apply(&self, objects: Vec<Object>, options: &ApplyOptions) -> Result<()> {
        self.apply_quietly_with(objects, options, |applied| {
            self.print_applied(applied, options.dry_run)
        })
        .map(|_| ())
    }

    /// Applies objects; the caller prints.
    pub(crate) fn apply_quietly(
        &self,
        objects: Vec<Object>,
        options: &ApplyOptions,
    ) -> Result<Vec<Outcome>> {
        self.apply_quietly_with(objects, options, |applied| {
            self.print_notes(applied);
            Ok(())
        })
    }

    fn apply_quietly_with(
        &self,
        objects: Vec<Object>,
        options: &ApplyOptions,
        print: impl Fn(&Applied) -> Result<()> + Sync,
    ) -> Result<Vec<Outcome>> {
        let purpose = match options.mode {
            ApplyMode::Create => Purpose::Create,
            ApplyMode::Apply | ApplyMode::Replace => Purpose::Apply,
        };
        let located: Vec<Located<Object>> = objects
            .into_iter()
            .map(|o| Located::elsewhere(o, "the command line"))
            .collect();
        let objects = named(checked(&located, purpose)?)?;
        if options.dry_run == DryRun::Client {
            return self.client_dry_run(objects);
        }
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
    fn client_dry_run(&self, objects: Vec<Object>) -> Result<Vec<Outcome>> {
        let format = self.format(output::RESULT_FORMATS_AND_TABLE)?;
        for object in &objects {
            let Some(key) = object.key() else { continue };
            match format {
                OutputFormat::Table | OutputFormat::Wide => {
                    self.ui.out_line(&format!("{key} created (dry run)"))?;
                }
                OutputFormat::Yaml => {
                    let text = manifest::to_manifest_yaml(object);
                    self.ui.out(&format!(
                        "{}{text}",
                        if objects.len() > 1 { "---\n" } else { "" }
                    ))?;
                }
                _ => output::print_object(&self.ui, &format, object.clone(), Timestamp::now())?,
            }
        }
        Ok(Vec::new())
    }

    fn print_notes(&self, applied: &Applied) {
        for note in &applied.notes {
            self.ui.status(&format!("{}: {note}", applied.key));
        }
    }

    fn print_applied(&self, applied: &Applied, dry_run: DryRun) -> Result<()> {
        self.print_notes(applied);
        if let DryRun::Server { .. } = dry_run {
            self.print_outcome(
                &applied.key,
                &format!("{} (server dry run)", applied.outcome),
            )?;
            return self.print_explanation(applied, dry_run);
        }
        match self.format(output::RESULT_FORMATS_AND_TABLE)? {
            OutputFormat::Table | OutputFormat::Wide | OutputFormat::Name => {
                self.print_outcome(&applied.key, &applied.outcome.to_string())
            }
            format => {
                let object = self.world()?.get(&applied.key)?;
                output::print_object(&self.ui, &format, object, Timestamp::now())
            }
        }
    }

    /// Prints the commands that would do the same, for a dry run that asks for them.
    fn print_explanation(&self, applied: &Applied, dry_run: DryRun) -> Result<()> {
        let asked =
            matches!(dry_run, DryRun::Server { explain } if explain || self.global.verbose > 0);
        let lines: &[String] = if asked { &applied.explanation } else { &[] };
        lines
            .iter()
            .try_for_each(|line| self.ui.out_line(&format!("  {line}")))
    }

    /// Deletes objects and prints what came of each.
    pub(crate) fn delete(&self, keys: Vec<ObjectKey>, options: &DeleteOptions) -> Result<()> {
        Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
        let reporter = self.reporter();
        let batch = engine::delete(
            self.world()?,
            keys,
            options,
            reporter.as_ref(),
            &|applied| {
                self.print_notes(applied);
                let suffix = match options.dry_run {
                    DryRun::None => "",
                    DryRun::Client => " (dry run)",
                    DryRun::Server { .. } => " (server dry run)",
                };
                if self.format(output::RESULT_FORMATS_AND_TABLE)? == OutputFormat::Name {
                    self.ui.out_line(&applied.key.to_string())
                } else {
                    let (kind, name) = (applied.key.kind, &applied.key.name);
                    self.ui
                        .out_line(&format!("{kind} \"{name}\" {}{suffix}", applied.outcome))?;
                    self.print_explanation(applied, options.dry_run)
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
        let ui = self.ui.clone();
        let format = self.format(output::RESULT_FORMATS_AND_TABLE)?;
        let changed = std::sync::atomic::AtomicBool::new(false);
        let batch = engine::run_all(&keys, engine::WIDTH, |key| {
            let outcome = change(world, key, reporter.as_ref());
            reporter.finished(key);
            let outcome = outcome?;
            changed.fetch_or(outcome.changed(), std::sync::atomic::Ordering::Relaxed);
            match format {
                OutputFormat::Name => ui.out_line(&key.to_string()),
                _ => ui.out_line(&format!("{key} {outcome}")),
            }
        });
        batch.into_result(|e| self.ui.error(e))?;
        if error_unchanged && !changed.into_inner() {
            return Err(Error::new(Kind::Unchanged, "nothing needed changing"));
        }
        Ok(())
    }

    /// Reads `--dry-run` and `--explain-plan`.
    pub(crate) fn dry_run(&self, args: &DryRunArgs) -> Result<DryRun> {
        let explain = args.explain_plan;
        match args.dry_run.as_deref() {
            None if explain => Ok(DryRun::Server { explain }),
            given => Ok(match self.where_to_stop(given)? {
                DryRun::Server { .. } => DryRun::Server { explain },
                other => other,
            }),
        }
    }

    /// Reads the value of `--dry-run`.
    pub(crate) fn where_to_stop(&self, given: Option<&str>) -> Result<DryRun> {
        match given {
            None | Some("none") => Ok(DryRun::None),
            Some("client") => Ok(DryRun::Client),
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
