//! The doors that commands go through: terminal, settings, libvirt, store. Each is opened when it is
//! first needed.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};

use clap::Args as _;
use serde::Serialize;

use super::args::{DryRunArgs, FileArgs, GlobalArgs, ListArgs, ValidateArg};
use crate::api::{LabelKey, Name, Object, ObjectKey, Reporter, Timestamp};
use crate::config::{self, ConfigFile, Settings};
use crate::engine::{self, Applied, ApplyMode, ApplyOptions, DeleteOptions, DryRun, Interrupt};
use crate::error::{Error, Kind, Result};
use crate::image::download::{Fetcher, Options, Watch};
use crate::manifest::{self, Located, Purpose, Recursion, Strictness};
use crate::observe::World;
use crate::output::{self, Order, OutputFormat, PrintRequest, SortKey, Table, Ui, UiOptions};
use crate::paths::Paths;
use crate::plan::Outcome;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Ctx {
    ui: Ui,
    global: GlobalArgs,
    world: OnceLock<Result<World>>,
}

impl Ctx {
    /// Makes the context of a command line.
    pub(crate) fn new(global: GlobalArgs) -> Self {
        let ui = Ui::stdio(UiOptions {
            no_color: global.no_color,
            quiet: global.quiet,
            verbosity: global.verbose,
        });
        output::trace(&ui);
        Self {
            ui,
            global,
            world: OnceLock::new(),
        }
    }

    /// Makes a context without flags, for what goes wrong before there are any.
    pub(crate) fn plain() -> Self {
        use clap::FromArgMatches as _;
        let command = GlobalArgs::augment_args(clap::Command::new("kvmctl"));
        let matches = command.get_matches_from(["kvmctl"]);
        let global = GlobalArgs::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
        Self::new(global)
    }

    /// Returns the flags of every command.
    pub(crate) const fn global(&self) -> &GlobalArgs {
        &self.global
    }

    /// Returns the terminal.
    pub(crate) const fn ui(&self) -> &Ui {
        &self.ui
    }

    /// Ends a command that went well.
    pub(crate) fn finish(&self) -> ExitCode {
        match self.ui.flush() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => self.fail(&error),
        }
    }

    /// Prints an error and returns its exit code.
    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        if !matches!(error.kind(), Kind::BrokenPipe | Kind::Remote(_)) {
            self.ui.error(error);
        }
        ExitCode::from(error.kind().exit_code())
    }

    /// Returns the settings of the context.
    pub(crate) fn settings(&self) -> Result<Settings> {
        Ok(self.world()?.settings().clone())
    }

    /// Returns the world that the command works in.
    pub(crate) fn world(&self) -> Result<&World> {
        let open = || {
            let (settings, paths) = self.resolve()?;
            let undecided = settings.is_default() && !config::is_recorded(&paths);
            let world = World::new(settings, paths)?;
            if undecided && world.settings().uri == config::SESSION_URI {
                self.ui.status(
                    "Using qemu:///session from now on: you have no permission for qemu:///system.\n\
                     (kvmctl config set-context default --uri qemu:///system changes that.)",
                );
            }
            Ok(world)
        };
        self.world.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    fn resolve(&self) -> Result<(Settings, Paths)> {
        let flags = config::Flags {
            context: self.global.context.clone(),
            uri: self.global.uri.clone(),
            pool: None,
            accelerator: self.global.accelerator.map(Into::into),
        };
        let paths = Paths::from_env()?;
        let file = ConfigFile::load(paths.config_file())?;
        let default = || config::default_uri(&paths);
        let settings = config::resolve(&flags, config::env::read, &file, default)?;
        Ok((settings, paths))
    }

    /// Returns somebody who tells the person what is going on.
    pub(crate) fn reporter(&self) -> Arc<dyn Reporter> {
        output::reporter(&self.ui)
    }

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
        self.apply_quietly_with(objects, options, |_| Ok(()))
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

    fn print_applied(&self, applied: &Applied, dry_run: DryRun) -> Result<()> {
        for note in &applied.notes {
            self.ui.status(&format!("{}: {note}", applied.key));
        }
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
                for note in &applied.notes {
                    self.ui.status(&format!("{}: {note}", applied.key));
                }
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

    /// Prints `kind/name verbed`, or only the name with `-o name`.
    pub(crate) fn print_outcome(&self, key: &ObjectKey, word: &str) -> Result<()> {
        match self.format(output::RESULT_FORMATS_AND_TABLE)? {
            OutputFormat::Name => self.ui.out_line(&key.to_string()),
            _ => self.ui.out_line(&format!("{key} {word}")),
        }
    }

    /// Prints rows that are no objects.
    pub(crate) fn print_rows(
        &self,
        titles: &[&str],
        rows: Vec<Vec<String>>,
        no_headers: bool,
    ) -> Result<()> {
        let mut table = Table::new(titles.iter().copied());
        for row in rows {
            table.push(row);
        }
        let table = if no_headers {
            table.without_titles()
        } else {
            table
        };
        self.ui.out(&table.render(self.ui.paint_out()))
    }

    /// Returns the format that `-o` asks for, among those that make sense here.
    pub(crate) fn format(&self, allowed: &[&str]) -> Result<OutputFormat> {
        match &self.global.output {
            None => Ok(OutputFormat::Table),
            Some(text) => Ok(OutputFormat::parse_among(text, allowed)?),
        }
    }

    /// Prints a value that is no object as JSON or YAML.
    pub(crate) fn print_value(&self, format: &OutputFormat, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|e| Error::failed("cannot print this").caused_by(e))?;
        match format {
            OutputFormat::Yaml => self.ui.out(&output::yaml::to_string(&value)),
            _ => self.ui.out(&output::json::to_string(&value)),
        }
    }

    /// Builds the request that a listing is printed by.
    pub(crate) fn print_request(&self, args: &ListArgs) -> Result<PrintRequest> {
        let format = match &self.global.output {
            None => OutputFormat::Table,
            Some(text) => OutputFormat::parse(text)?,
        };
        let mut request = PrintRequest::new(format, Timestamp::now());
        request.no_headers = args.no_headers;
        request.show_labels = args.show_labels;
        request.show_kind = args.show_kind;
        for key in &args.label_columns {
            let key = LabelKey::new(key.as_str()).map_err(|e| Error::usage(e.to_string()))?;
            request.label_columns.push(key);
        }
        if let Some(path) = &args.sort_by {
            request.order = Order::By(SortKey::parse(path)?);
        }
        Ok(request)
    }

    /// Reads `--dry-run` and `--explain-plan`.
    pub(crate) fn dry_run(&self, args: &DryRunArgs) -> Result<DryRun> {
        let explain = args.explain_plan;
        match args.dry_run.as_deref() {
            None if explain => Ok(DryRun::Server { explain }),
            None | Some("none") => Ok(DryRun::None),
            Some("client") => Ok(DryRun::Client),
            Some("server") => Ok(DryRun::Server { explain }),
            Some("") => Err(Error::usage("--dry-run needs a value")
                .hint("--dry-run=client contacts nobody")
                .hint("--dry-run=server checks against libvirt")),
            Some(other) => Err(Error::usage(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
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
    Ok(fetcher.text(url, &mut watch)?.into_bytes())
}

fn checked(located: &[Located<Object>], purpose: Purpose) -> Result<Vec<Object>> {
    manifest::validate(located, purpose).map_err(|problems| manifest::into_error(&problems))?;
    let mut objects: Vec<Object> = located.iter().map(|l| l.value.clone()).collect();
    objects.iter_mut().for_each(manifest::normalise);
    Ok(objects)
}

/// Gives objects with `generateName` a name that nobody else will choose.
fn named(mut objects: Vec<Object>) -> Result<Vec<Object>> {
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
