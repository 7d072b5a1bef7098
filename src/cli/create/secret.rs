//! `secrets create NAME`: values come from files or standard input, never from the command line,
//! where `ps` would show them.

use std::collections::BTreeMap;

use clap::Args;

use super::super::args::InputFile;
use super::instance::{env_lines, pair, read_text};
use crate::api::{API_VERSION, EnvName, Name, ObjectMeta, Secret, SecretValue};
use crate::error::{Error, Result};

/// Flags that describe a secret.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretArgs {
    /// Name of the secret
    #[arg(value_name = "NAME")]
    name: Name,
    /// Key and the file that holds its value, - for standard input (can be repeated)
    #[arg(long, value_name = "KEY=FILE")]
    from_file: Vec<String>,
    /// File with KEY=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    from_env_file: Vec<InputFile>,
    /// kubectl's flag, which would show the value to everybody on the host
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    from_literal: Vec<String>,
}

impl SecretArgs {
    /// Builds the Secret that the flags describe.
    ///
    /// # Errors
    /// Usage errors that name the flag.
    pub(crate) fn object(&self) -> Result<Secret> {
        if let Some(given) = self.from_literal.first() {
            let key = given.split_once('=').map_or(given.as_str(), |(key, _)| key);
            return Err(Error::usage(
                "--from-literal is not taken: everybody on the host can read a command line; \
                 the value is read from a file, or from standard input",
            )
            .hint(format!(
                "kvmctl secrets create {} --from-file {key}=-",
                self.name
            )));
        }
        let mut data = BTreeMap::new();
        for file in &self.from_env_file {
            data.extend(
                env_lines(file)?
                    .into_iter()
                    .map(|(k, v)| (k, SecretValue::new(v))),
            );
        }
        for given in &self.from_file {
            let (key, file) = pair(given, "--from-file")?;
            let key = EnvName::new(key).map_err(|e| Error::usage(format!("--from-file: {e}")))?;
            let text = read_text(file.as_ref())?;
            // A final newline is the editor's, not the secret's.
            data.insert(
                key,
                SecretValue::new(text.strip_suffix('\n').unwrap_or(&text)),
            );
        }
        if data.is_empty() {
            return Err(Error::usage("the secret has no value")
                .hint("kvmctl secrets create NAME --from-file KEY=FILE"));
        }
        Ok(secret(self.name.clone(), data))
    }
}

/// Builds a Secret.
pub(crate) fn secret(name: Name, data: BTreeMap<EnvName, SecretValue>) -> Secret {
    let (api_version, kind) = (API_VERSION.to_owned(), "Secret".to_owned());
    Secret {
        api_version,
        kind,
        metadata: ObjectMeta::named(name),
        data,
    }
}
