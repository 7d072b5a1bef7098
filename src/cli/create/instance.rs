//! `instances create NAME`: flags to an Instance.

use std::fs;
use std::path::Path;

use clap::Args;

use super::super::args::InputFile;
use super::super::complete::names_of;
use crate::api::{
    API_VERSION, EnvName, EnvVar, EnvVarSource, Firmware, Instance, InstanceSpec, Kind, LabelKey,
    LabelValue, Name, NetworkAttachment, ObjectMeta, PortMapping, Quantity, SecretKeyRef,
    VolumeAttachment,
};
use crate::error::{Error, Result};

/// Flags that describe an instance.
#[derive(Debug, Clone, Args)]
pub(crate) struct InstanceArgs {
    /// Name of the instance
    #[arg(value_name = "NAME")]
    pub(crate) name: Name,
    /// Image to boot, as debian-12 (see `kvmctl images list`)
    #[arg(long, value_name = "IMAGE", add = names_of(Kind::Image))]
    image: Option<String>,
    /// Instance type, as t2.micro (see `kvmctl types list`)
    #[arg(long = "type", value_name = "TYPE", add = names_of(Kind::InstanceType))]
    instance_type: Option<String>,
    /// Number of virtual CPUs, instead of the type's
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    cpus: Option<u32>,
    /// Memory, instead of the type's
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<Quantity>,
    /// Size of the root disk, instead of the type's
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    disk: Option<Quantity>,
    /// Network, as NAME or NAME,ip=ADDRESS,mac=ADDRESS,model=MODEL (can be repeated; the first one
    /// is the primary one)
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// Volume to attach, as NAME or NAME:/MOUNT/PATH, which formats a blank one (can be repeated)
    #[arg(long, value_name = "VOLUME[:PATH]")]
    volume: Vec<String>,
    /// Public SSH key, or a file that holds one (can be repeated)
    #[arg(long, value_name = "KEY|FILE")]
    ssh_key: Vec<String>,
    /// Variable of the environment (can be repeated)
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// File with NAME=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<InputFile>,
    /// Variable taken from a Secret, as NAME=SECRET/KEY (can be repeated)
    #[arg(long, value_name = "NAME=SECRET/KEY")]
    env_from_secret: Vec<String>,
    /// File with NAME=VALUE lines that is kept as the Secret NAME-env (never printed)
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_env_file: Option<InputFile>,
    /// Shell line to run at the first boot (can be repeated)
    #[arg(long, value_name = "LINE")]
    run: Vec<String>,
    /// File with cloud-init user-data of any type
    #[arg(long, value_name = "FILE")]
    user_data: Option<InputFile>,
    /// Port of the host for a port of the instance, as 8080:80 (can be repeated)
    #[arg(
        long = "port",
        short = 'p',
        visible_alias = "ports",
        value_name = "HOST:GUEST",
        value_delimiter = ','
    )]
    ports: Vec<PortMapping>,
    /// Let --port take ports of the host below 1024, such as that of SSH
    #[arg(long)]
    force: bool,
    /// Label (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    label: Vec<String>,
    /// Firmware: bios or uefi
    #[arg(long, value_name = "WHICH")]
    firmware: Option<String>,
    /// Give it a TPM 2.0
    #[arg(long)]
    tpm: bool,
    /// Do not start it with the host
    #[arg(long)]
    no_autostart: bool,
    /// Command run at the first boot: one argv, which no shell sees
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl InstanceArgs {
    /// Builds the Instance that the flags describe.
    ///
    /// # Errors
    /// Usage errors that name the flag.
    pub(crate) fn object(&self) -> Result<Instance> {
        let mut metadata = ObjectMeta::named(self.name.clone());
        for label in &self.label {
            let (key, value) = pair(label, "--label")?;
            let key = LabelKey::new(key).map_err(|e| Error::usage(format!("--label: {e}")))?;
            let value =
                LabelValue::new(value).map_err(|e| Error::usage(format!("--label: {e}")))?;
            metadata.labels.insert(key, value);
        }
        let spec = InstanceSpec {
            image: self.image.clone(),
            instance_type: self.instance_type.clone(),
            cpus: self.cpus,
            memory: self.memory,
            disk: self.disk,
            networks: self
                .network
                .iter()
                .map(|n| network(n))
                .collect::<Result<_>>()?,
            volumes: self
                .volume
                .iter()
                .map(|v| volume(v))
                .collect::<Result<_>>()?,
            ssh_keys: self.ssh_keys()?,
            env: self.env()?,
            run: self.run.clone(),
            command: self.command.clone(),
            user_data: self.user_data.as_deref().map(read_text).transpose()?,
            ports: self.ports.clone(),
            allow_privileged_ports: self.force.then_some(true),
            accelerator: None,
            firmware: self.firmware.as_deref().map(firmware).transpose()?,
            tpm: self.tpm.then_some(true),
            autostart: self.no_autostart.then_some(false),
        };
        let (api_version, kind) = (API_VERSION.to_owned(), "Instance".to_owned());
        Ok(Instance {
            api_version,
            kind,
            metadata,
            spec,
            status: None,
        })
    }

    /// Returns the name of the Secret that `--secret-env-file` makes.
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn secret_name(&self) -> Result<Name> {
        self.name
            .with_suffix("env")
            .map_err(|e| Error::usage(e.to_string()))
    }

    fn ssh_keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for given in &self.ssh_key {
            if given.starts_with("ssh-") || given.starts_with("ecdsa-") || given.starts_with("sk-")
            {
                keys.push(given.trim().to_owned());
            } else {
                let text = read_text(Path::new(given))?;
                let lines = text.lines().map(str::trim);
                keys.extend(
                    lines
                        .filter(|l| !l.is_empty() && !l.starts_with('#'))
                        .map(str::to_owned),
                );
            }
        }
        Ok(keys)
    }

    fn env(&self) -> Result<Vec<EnvVar>> {
        let mut env = Vec::new();
        for file in &self.env_file {
            for (name, value) in env_lines(file)? {
                set(
                    &mut env,
                    EnvVar {
                        name,
                        value: Some(value),
                        value_from: None,
                    },
                );
            }
        }
        for given in &self.env {
            let (name, value) = pair(given, "--env")?;
            let value = Some(value.to_owned());
            set(
                &mut env,
                EnvVar {
                    name: env_name(name, "--env")?,
                    value,
                    value_from: None,
                },
            );
        }
        for given in &self.env_from_secret {
            let (name, source) = pair(given, "--env-from-secret")?;
            let (secret, key) = source.split_once('/').ok_or_else(|| {
                Error::usage(format!(
                    "--env-from-secret: {given:?} is not NAME=SECRET/KEY"
                ))
            })?;
            let secret = Name::new(secret).map_err(|e| Error::usage(e.to_string()))?;
            let key = env_name(key, "--env-from-secret")?;
            set(
                &mut env,
                from_secret(env_name(name, "--env-from-secret")?, secret, key),
            );
        }
        if let Some(file) = &self.secret_env_file {
            let secret = self.secret_name()?;
            for (name, _) in env_lines(file)? {
                set(&mut env, from_secret(name.clone(), secret.clone(), name));
            }
        }
        Ok(env)
    }
}

fn from_secret(name: EnvName, secret: Name, key: EnvName) -> EnvVar {
    let secret = SecretKeyRef { name: secret, key };
    EnvVar {
        name,
        value: None,
        value_from: Some(EnvVarSource { secret }),
    }
}

/// The last word on a variable counts, as in a shell.
fn set(env: &mut Vec<EnvVar>, var: EnvVar) {
    env.retain(|known| known.name != var.name);
    env.push(var);
}

fn env_name(name: &str, flag: &str) -> Result<EnvName> {
    EnvName::new(name).map_err(|e| Error::usage(format!("{flag}: {e}")))
}

/// Splits `KEY=VALUE`; the error names the flag.
pub(crate) fn pair<'a>(text: &'a str, flag: &str) -> Result<(&'a str, &'a str)> {
    text.split_once('=')
        .ok_or_else(|| Error::usage(format!("{flag}: {text:?} is not KEY=VALUE")))
}

/// Reads a text file; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        fs::read_to_string(path)
    };
    text.map_err(|e| Error::usage(format!("cannot read {}", path.display())).caused_by(e))
}

/// Reads NAME=VALUE lines, as docker's --env-file has them: no quoting, `#` starts a comment line.
pub(crate) fn env_lines(path: &Path) -> Result<Vec<(EnvName, String)>> {
    let text = read_text(path)?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let place = format!("{}:{}", path.display(), number + 1);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("{place}: the line is not NAME=VALUE")))?;
        pairs.push((env_name(name.trim(), &place)?, value.to_owned()));
    }
    Ok(pairs)
}

/// Reads a volume as it is typed.
fn volume(text: &str) -> Result<VolumeAttachment> {
    let (name, path) = match text.split_once(':') {
        Some((name, path)) => (name, Some(path.to_owned())),
        None => (text, None),
    };
    let name = Name::new(name).map_err(|e| Error::usage(format!("--volume: {e}")))?;
    Ok(VolumeAttachment {
        mount_path: path,
        ..VolumeAttachment::named(name)
    })
}

/// Reads `NAME[,ip=ADDRESS][,mac=ADDRESS][,model=MODEL]`.
///
/// # Errors
/// Usage errors that name the flag.
pub(crate) fn network(text: &str) -> Result<NetworkAttachment> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default().to_owned();
    let mut attachment = NetworkAttachment {
        name,
        ip: None,
        mac: None,
        model: None,
    };
    for part in parts {
        match pair(part, "--network")? {
            ("ip", ip) => {
                let parsed = ip.parse();
                attachment.ip = Some(parsed.map_err(|_| {
                    Error::usage(format!("--network: {ip:?} is not an IPv4 address"))
                })?);
            }
            ("mac", mac) => attachment.mac = Some(mac.to_owned()),
            ("model", model) => {
                let parsed = model.parse();
                attachment.model = Some(parsed.map_err(|e: crate::api::UnknownModel| {
                    Error::usage(format!("--network: model {e}"))
                })?);
            }
            (key, _) => {
                return Err(Error::usage(format!("--network: unknown key {key:?}"))
                    .hint("--network NAME,ip=ADDRESS,mac=ADDRESS,model=MODEL"));
            }
        }
    }
    Ok(attachment)
}

fn firmware(text: &str) -> Result<Firmware> {
    match text {
        "bios" => Ok(Firmware::Bios),
        "uefi" | "efi" => Ok(Firmware::Uefi),
        _ => Err(Error::usage(format!(
            "--firmware: {text:?} is neither bios nor uefi"
        ))),
    }
}
