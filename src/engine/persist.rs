//! `setup --persist`: what a restart of the host, of libvirt or of its firewall takes away comes back
//! without anybody: a unit of systemd runs `kvmctl reconcile` for the context.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::host::systemd::{BootUnit, Scope, Systemd, name_part};
use crate::observe::World;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persist {
    /// The unit, in its present form.
    Install,
    /// No unit.
    Remove,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct PersistPlan {
    wanted: Persist,
    name: String,
    path: PathBuf,
    unit: BootUnit,
    systemd: Option<Systemd>,
}

/// Finds out what is to be done; `None` where all is as is wanted.
///
/// # Errors
/// A conflict for a remote context, or without the right.
pub fn plan(world: &World, wanted: Persist) -> Result<Option<PersistPlan>> {
    let host = world.host()?;
    if !host.is_local() {
        return Err(Error::conflict(
            "the unit belongs on the host itself, and the context is of another one",
        )
        .hint("log in to the host and run `kvmctl setup --persist` there"));
    }
    let scope = match host.is_session() {
        true => Scope::User(config_home(world)),
        false => Scope::System,
    };
    let name = unit_name(world);
    let plan = PersistPlan {
        wanted,
        path: Systemd::path(&scope, &name),
        unit: unit(world, scope.clone())?,
        systemd: Systemd::running(&scope),
        name,
    };
    if plan.systemd.is_some() && plan.is_done() {
        return Ok(None);
    }
    let root = rustix::process::geteuid().is_root();
    if plan.systemd.is_some() && scope == Scope::System && !root {
        let flag = match wanted {
            Persist::Install => "--persist",
            Persist::Remove => "--no-persist",
        };
        return Err(Error::conflict("only root may change the host's units")
            .hint(format!("sudo kvmctl setup {flag}")));
    }
    Ok(Some(plan))
}

impl PersistPlan {
    fn is_done(&self) -> bool {
        let there = std::fs::read_to_string(&self.path).ok();
        match self.wanted {
            Persist::Install => there.as_deref() == Some(self.unit.text().as_str()),
            Persist::Remove => there.is_none(),
        }
    }

    /// Returns what is to be done, a line each.
    pub fn lines(&self) -> Vec<String> {
        let path = self.path.display();
        match (&self.systemd, self.wanted) {
            (None, _) => Vec::new(),
            (Some(_), Persist::Install) => {
                vec![format!(
                    "install {path}, which runs kvmctl reconcile at boot"
                )]
            }
            (Some(_), Persist::Remove) => vec![format!("remove {path}")],
        }
    }

    /// Does it, and returns what was done; where there is no systemd, what does the same.
    ///
    /// # Errors
    /// What the file system or systemctl says.
    pub fn run(&self) -> Result<Vec<String>> {
        let path = self.path.display();
        let done = match (&self.systemd, self.wanted) {
            (Some(systemd), Persist::Install) => {
                systemd.install(&self.name, &self.unit.text())?;
                vec![format!(
                    "installed {path}, which runs kvmctl reconcile at boot"
                )]
            }
            (Some(systemd), Persist::Remove) => {
                systemd.remove(&self.name)?;
                vec![format!("removed {path}")]
            }
            (None, Persist::Install) => self.equivalent(),
            (None, Persist::Remove) => {
                vec!["there is no systemd here, and kvmctl has installed nothing".to_owned()]
            }
        };
        Ok(done)
    }

    fn equivalent(&self) -> Vec<String> {
        vec![
            "# There is no systemd here. Let the host run this at boot, and whenever libvirt or"
                .to_owned(),
            "# the firewall was restarted, once libvirt has started:".to_owned(),
            self.unit.command_line(),
        ]
    }
}

/// One unit a context.
fn unit_name(world: &World) -> String {
    match world.settings().context.as_deref() {
        None | Some("default") => "kvmctl-reconcile.service".to_owned(),
        Some(context) => format!("kvmctl-reconcile-{}.service", name_part(context)),
    }
}

fn config_home(world: &World) -> PathBuf {
    let file = world.paths().config_file();
    let named = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let beside = || file.parent().map_or_else(PathBuf::new, PathBuf::from);
    named
        .filter(|path| path.is_absolute())
        .or(home)
        .unwrap_or_else(beside)
}

/// The unit says all that the caller's environment says, because it has none of it.
fn unit(world: &World, scope: Scope) -> Result<BootUnit> {
    let settings = world.settings();
    let program = std::env::current_exe()
        .map_err(|e| Error::failed("cannot find out where kvmctl is").caused_by(e))?;
    let mut argv = vec![program.display().to_string(), "reconcile".to_owned()];
    let mut environment = Vec::new();
    if let Some(home) = std::env::var_os("HOME") {
        environment.push(("HOME".to_owned(), home.to_string_lossy().into_owned()));
    }
    let file = world.paths().config_file();
    match settings.context.as_deref().filter(|_| file.exists()) {
        Some(context) => {
            environment.push(("KVMCTL_CONFIG".to_owned(), file.display().to_string()));
            argv.extend(["--context".to_owned(), context.to_owned()]);
        }
        None => argv.extend(["--uri".to_owned(), settings.uri.clone()]),
    }
    environment.push((
        "KVMCTL_STORE".to_owned(),
        world.store_path().display().to_string(),
    ));
    let context = settings.context.as_deref().unwrap_or(&settings.uri);
    Ok(BootUnit {
        description: format!("Put right what kvmctl keeps in context {context}"),
        argv,
        environment,
        scope,
    })
}
