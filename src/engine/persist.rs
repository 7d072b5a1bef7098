//! `setup --persist`: what a restart of the host, of libvirt or of its firewall takes away comes back
//! without anybody, and targets of load balancers that fail their health check are taken out: one unit
//! of systemd runs `kvmctl reconcile` for the context, another one `kvmctl reconcile --watch`.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::host::systemd::{BootUnit, Runs, Scope, Systemd, name_part};
use crate::observe::World;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persist {
    /// The units, in their present form.
    Install,
    /// No unit.
    Remove,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct PersistPlan {
    wanted: Persist,
    units: Vec<Named>,
    systemd: Option<Systemd>,
}

/// A unit and where it is kept.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    path: PathBuf,
    unit: BootUnit,
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
    let systemd = Systemd::running(&scope);
    let mut units = Vec::new();
    for runs in [Runs::Once, Runs::Always] {
        let name = unit_name(world, runs);
        units.push(Named {
            path: Systemd::path(&scope, &name),
            unit: unit(world, scope.clone(), runs)?,
            name,
        });
    }
    if let Some(systemd) = &systemd {
        units.retain(|unit| !unit.is_done(wanted, systemd));
        if units.is_empty() {
            return Ok(None);
        }
    }
    let root = rustix::process::geteuid().is_root();
    if systemd.is_some() && scope == Scope::System && !root {
        let flag = match wanted {
            Persist::Install => "--persist",
            Persist::Remove => "--no-persist",
        };
        return Err(Error::conflict("only root may change the host's units")
            .hint(format!("sudo kvmctl setup {flag}")));
    }
    Ok(Some(PersistPlan {
        wanted,
        units,
        systemd,
    }))
}

impl PersistPlan {
    /// Returns what is to be done, a line each.
    pub fn lines(&self) -> Vec<String> {
        match &self.systemd {
            None => Vec::new(),
            Some(_) => self.told("install", "remove"),
        }
    }

    /// Does it, and returns what was done; where there is no systemd, what does the same.
    ///
    /// # Errors
    /// What the file system or systemctl says.
    pub fn run(&self) -> Result<Vec<String>> {
        let Some(systemd) = &self.systemd else {
            return Ok(self.equivalent());
        };
        for unit in &self.units {
            match self.wanted {
                Persist::Install => unit.install(systemd)?,
                Persist::Remove => systemd.remove(&unit.name)?,
            }
        }
        Ok(self.told("installed", "removed"))
    }

    fn told(&self, install: &str, remove: &str) -> Vec<String> {
        let line = |unit: &Named| {
            let path = unit.path.display();
            match self.wanted {
                Persist::Install => format!("{install} {path}, which {}", unit.does()),
                Persist::Remove => format!("{remove} {path}"),
            }
        };
        self.units.iter().map(line).collect()
    }

    fn equivalent(&self) -> Vec<String> {
        if self.wanted == Persist::Remove {
            return vec!["there is no systemd here, and kvmctl has installed nothing".to_owned()];
        }
        let mut lines = vec!["# There is no systemd here.".to_owned()];
        for Named { unit, .. } in &self.units {
            let when: &[&str] = match unit.runs {
                Runs::Once => &[
                    "# Let the host run this at boot, and whenever libvirt or the firewall was restarted,",
                    "# once libvirt has started:",
                ],
                Runs::Always => {
                    &["# And keep this one running where load balancers have health checks:"]
                }
            };
            lines.extend(when.iter().map(|&line| line.to_owned()));
            lines.push(unit.command_line());
        }
        lines
    }
}

impl Named {
    fn is_done(&self, wanted: Persist, systemd: &Systemd) -> bool {
        let there = std::fs::read_to_string(&self.path).ok();
        match wanted {
            Persist::Install => {
                let text = self.unit.text();
                there.as_deref() == Some(text.as_str())
                    && systemd.is_set(&self.name, self.unit.runs)
            }
            Persist::Remove => there.is_none(),
        }
    }

    fn install(&self, systemd: &Systemd) -> Result<()> {
        systemd.install(&self.name, &self.unit.text())?;
        if self.unit.runs == Runs::Always {
            systemd.restart(&self.name)?;
        }
        Ok(())
    }

    const fn does(&self) -> &'static str {
        match self.unit.runs {
            Runs::Once => "runs kvmctl reconcile at boot",
            Runs::Always => "keeps kvmctl reconcile --watch running",
        }
    }
}

/// Two units a context.
fn unit_name(world: &World, runs: Runs) -> String {
    let does = match runs {
        Runs::Once => "reconcile",
        Runs::Always => "watch",
    };
    match world.settings().context.as_deref() {
        None | Some("default") => format!("kvmctl-{does}.service"),
        Some(context) => format!("kvmctl-{does}-{}.service", name_part(context)),
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
fn unit(world: &World, scope: Scope, runs: Runs) -> Result<BootUnit> {
    let settings = world.settings();
    let program = std::env::current_exe()
        .map_err(|e| Error::failed("cannot find out where kvmctl is").caused_by(e))?;
    let mut argv = vec![program.display().to_string(), "reconcile".to_owned()];
    if runs == Runs::Always {
        argv.push("--watch".to_owned());
    }
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
    let description = match runs {
        Runs::Once => format!("Put right what kvmctl keeps in context {context}"),
        Runs::Always => format!("Watch the targets of load balancers in context {context}"),
    };
    Ok(BootUnit {
        description,
        argv,
        environment,
        scope,
        runs,
    })
}
