//! What a user of kubectl expects, point by point, of the program as it is run.
//!
//! The numbers in the comments are those of the project's checklist of conventions.

mod basics;
mod changes;
mod listing;
mod manifests;
mod nouns;
mod verbs;

use std::path::Path;
use std::process::Stdio;

use crate::support::{CommandOutput, Env};

/// libvirt's test driver inside the process: every command sees one domain made by hand.
const FAKE: &str = "test:///default";

/// Returns a home on libvirt's test driver.
fn fake() -> Env {
    Env::new(FAKE)
}

/// Runs kvmctl with a command line in one text.
fn kvmctl(env: &Env, line: &str) -> CommandOutput {
    env.kvmctl(line.split_whitespace().collect::<Vec<_>>())
}

/// Runs a shell command line in which `kvmctl` is the program under test.
fn shell(env: &Env, line: &str) -> CommandOutput {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_BIN_EXE_kvmctl"))
        .parent()
        .unwrap()
        .display();
    let output = env
        .command("bash", &["-o", "pipefail", "-c", line])
        .env("PATH", format!("{own}:{path}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    CommandOutput::new("bash", &[line], &output)
}

/// Expects that nothing was printed to standard output.
#[track_caller]
fn silent(output: CommandOutput) -> CommandOutput {
    assert!(output.stdout.is_empty(), "stdout of {output}");
    output
}

/// A valid Instance; nothing that it refers to is needed by a dry run on the client.
const WEB: &str = "apiVersion: kvmctl/v1
kind: Instance
metadata:
  name: web
  labels: {app: web}
spec:
  image: debian-12
  type: basic-1
";

/// A valid Secret.
const SECRET: &str = "apiVersion: kvmctl/v1
kind: Secret
metadata:
  name: keys
data:
  TOKEN: canary-2718
";

/// A valid InstanceType.
const SMALL: &str = "apiVersion: kvmctl/v1
kind: InstanceType
metadata:
  name: small
spec:
  cpus: 1
  memory: 256Mi
  disk: 1Gi
";
