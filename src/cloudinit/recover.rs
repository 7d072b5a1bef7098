//! What can be learnt back from a medium when the store is lost.

use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::input::SeedInput;
use super::seed::Seed;
use crate::api::{EnvName, MaskKey, Name, Uid};

/// The file that says what the medium was made of. cloud-init does not look at it.
pub(super) const FILE: &str = "kvmctl.json";

/// A variable as it can be learnt back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredEnv {
    /// Its name.
    pub name: EnvName,
    /// Its value; absent when it is a secret.
    pub value: Option<String>,
}

/// What a medium was made of, without its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveredInput {
    /// Identity of the instance.
    pub uid: Uid,
    /// Host name.
    pub hostname: Name,
    /// [`SeedInput::input_hash`] of the facts.
    pub input_hash: String,
    /// Whether it is the medium of later boots.
    pub sealed: bool,
    /// Public SSH keys.
    pub ssh_keys: Vec<String>,
    /// Variables.
    pub env: Vec<RecoveredEnv>,
    /// Shell lines of the first boot.
    pub run: Vec<String>,
    /// Command of the first boot.
    pub command: Vec<String>,
    /// User-data; absent when there was none or the medium is sealed.
    pub user_data: Option<Vec<u8>>,
    /// Key of what stands in public for the secrets; absent in a medium of before there were keys.
    pub mask_key: Option<MaskKey>,
}

#[derive(Deserialize)]
struct Record {
    uid: Uid,
    hostname: Name,
    hash: String,
    sealed: bool,
    ssh_keys: Vec<String>,
    env: Vec<RecordEnv>,
    run: Vec<String>,
    command: Vec<String>,
    #[serde(default)]
    mask_key: Option<MaskKey>,
}

#[derive(Deserialize)]
struct RecordEnv {
    name: EnvName,
    value: Option<String>,
}

pub(super) fn record(input: &SeedInput, sealed: bool) -> Value {
    let env: Vec<Value> = input
        .env
        .iter()
        .map(|e| json!({"name": e.name, "value": (!e.secret).then_some(&e.value)}))
        .collect();
    json!({
        "uid": input.uid,
        "hostname": input.hostname,
        "hash": input.input_hash(),
        "sealed": sealed,
        "ssh_keys": input.ssh_keys,
        "env": env,
        "run": input.run,
        "command": input.command,
        "mask_key": input.mask_key,
    })
}

impl fmt::Debug for RecoveredInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveredInput")
            .field("uid", &self.uid)
            .field("input_hash", &self.input_hash)
            .finish_non_exhaustive()
    }
}

impl Seed {
    /// Returns what this medium was made of; `None` when kvmctl did not make it.
    pub fn recover(&self) -> Option<RecoveredInput> {
        let record: Record = serde_json::from_slice(self.files.get(FILE)?).ok()?;
        let user_data = self.files.get("user-data").filter(|d| !d.is_empty());
        let env = record.env.into_iter();
        Some(RecoveredInput {
            uid: record.uid,
            hostname: record.hostname,
            input_hash: record.hash,
            sealed: record.sealed,
            ssh_keys: record.ssh_keys,
            env: env
                .map(|RecordEnv { name, value }| RecoveredEnv { name, value })
                .collect(),
            run: record.run,
            command: record.command,
            user_data: user_data.filter(|_| !record.sealed).cloned(),
            mask_key: record.mask_key,
        })
    }
}
