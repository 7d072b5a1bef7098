//! The doors that commands go through: terminal, settings, libvirt, store. Each is opened when it is
//! first needed.

mod change;
mod manifests;
mod print;
mod results;

pub(crate) use change::dry_run_suffix;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::Args as _;

use super::args::GlobalArgs;
use crate::api::Reporter;
use crate::config::{self, ConfigFile, Settings};
use crate::error::{Error, Kind, Result};
use crate::observe::World;
use crate::output::{self, Ui, UiOptions};
use crate::paths::Paths;

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
}
