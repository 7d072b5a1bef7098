//! The files of a NoCloud medium.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::input::SeedInput;
use super::{recover, vendor};

/// Changes when the same facts give other files, so that media of older versions are known.
pub(super) const FORMAT: &str = "2";

/// What stands on a medium: file names and contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed {
    /// The files, by their names.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.files.iter().map(|(name, bytes)| (name, bytes.len()));
        f.debug_map().entries(sizes).finish()
    }
}

impl Seed {
    /// Makes the medium of the first boot. [`SeedInput::check`] the facts before.
    pub fn new(input: &SeedInput) -> Self {
        Self::assemble(
            input,
            input.user_data.clone().unwrap_or_default(),
            vendor::full(input),
            false,
        )
    }

    /// Makes the medium of later boots: the same instance, without secrets, user-data and private
    /// key.
    ///
    /// The guest has kept its user-data, and goes on including it: what user-data asks for at
    /// every boot (`bootcmd`, `growpart: off`) goes on to happen. So this medium is for a guest
    /// whose report says `sealed`, and for no other.
    pub fn sanitized(input: &SeedInput) -> Self {
        let user_data = match input.user_data.as_deref() {
            None | Some([]) => Vec::new(),
            Some(_) => {
                format!("#include\nfile://{}/user-data\n", vendor::state(&input.uid)).into_bytes()
            }
        };
        Self::assemble(input, user_data, vendor::reporter_only(&input.uid), true)
    }

    fn assemble(input: &SeedInput, user_data: Vec<u8>, vendor_data: String, sealed: bool) -> Self {
        let mut files = BTreeMap::new();
        let mut add = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), bytes);
        add("meta-data", yaml_safe(&meta_data(input)).into_bytes());
        add("user-data", user_data);
        add("vendor-data", vendor_data.into_bytes());
        if !input.nics.is_empty() {
            let network = yaml_safe(&network_config(input));
            add("network-config", network.into_bytes());
        }
        add(
            recover::FILE,
            yaml_safe(&recover::record(input, sealed)).into_bytes(),
        );
        Self { files }
    }
}

fn meta_data(input: &SeedInput) -> Value {
    let keys: Vec<&str> = input.ssh_keys.iter().map(|k| k.trim()).collect();
    json!({
        "instance-id": input.uid.to_string(),
        "local-hostname": input.hostname.as_str(),
        "public-keys": keys,
    })
}

/// Names of interfaces are left to the guest. Only the primary one holds up the boot until it has
/// an address: another may be in a network where nobody gives one.
///
/// Every network may offer a way out, and the first one that does is taken: by metric, which every
/// renderer of cloud-init knows, and which leaves the others where the first offers none.
fn network_config(input: &SeedInput) -> Value {
    let mut ethernets = serde_json::Map::new();
    for (index, nic) in input.nics.iter().enumerate() {
        let mut config = json!({
            "match": {"macaddress": nic.mac.to_lowercase()},
            "dhcp4": true,
            "dhcp-identifier": "mac",
        });
        if index > 0 {
            config["optional"] = Value::Bool(true);
        }
        if input.nics.len() > 1 {
            config["dhcp4-overrides"] = json!({"route-metric": 100 * (index + 1)});
        }
        ethernets.insert(format!("nic{index}"), config);
    }
    json!({"version": 2, "ethernets": ethernets})
}

/// Returns a value as a `#cloud-config` file.
pub(super) fn cloud_config(value: &Value) -> String {
    format!("#cloud-config\n{}", yaml_safe(value))
}

/// Returns JSON that YAML 1.1 readers take for the same value: they refuse or fold some characters
/// that may stand raw in a JSON string.
pub(super) fn yaml_safe(value: &Value) -> String {
    let mut text = String::new();
    for c in format!("{value:#}\n").chars() {
        if matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        ) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

/// Returns the sha256 of some bytes in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EnvName, Name, Uid};
    use crate::cloudinit::{EnvEntry, HostKey, SeedNic};

    const CANARIES: [&str; 3] = ["c4nary-env", "c4nary-user-data", "PRIVATE KEY"];

    fn input() -> SeedInput {
        let entry = |name: &str, value: &str, secret| EnvEntry {
            name: EnvName::new(name).unwrap(),
            value: value.into(),
            secret,
        };
        SeedInput {
            ssh_keys: vec!["ssh-ed25519 AAAA me\n".into()],
            nics: vec![
                SeedNic {
                    mac: "52:54:00:AA:00:01".into(),
                },
                SeedNic {
                    mac: "52:54:00:AA:00:02".into(),
                },
            ],
            env: vec![
                entry("GREETING", "it's $HOME\n", false),
                entry("TOKEN", "c4nary-env", true),
            ],
            run: vec!["echo 'one'".into()],
            command: vec!["printf".into(), "%s".into(), "a  b\r\n".into()],
            user_data: Some(b"#cloud-config\npassword: c4nary-user-data\n".to_vec()),
            host_key: Some(HostKey::generate().unwrap()),
            ..SeedInput::new(Uid::from_bytes([9; 16]), Name::new("web").unwrap())
        }
    }

    fn json(seed: &Seed, name: &str) -> Value {
        serde_json::from_slice(&seed.files[name]).unwrap()
    }

    /// Everything that base64 hides, to the third layer, beside the text itself.
    fn laid_bare(seed: &Seed) -> String {
        let mut text = String::new();
        for bytes in seed.files.values() {
            text.push_str(&String::from_utf8_lossy(bytes));
        }
        let mut layer = text.clone();
        for _ in 0..3 {
            let mut below = String::new();
            for block in layer.split("\n\n").flat_map(|b| b.split("KVMCTL_END")) {
                let block: String = block.lines().filter(|l| !l.contains(['\'', '-'])).collect();
                let decoded = super::super::mime::decode_lines(&block).unwrap_or_default();
                below.push_str(&String::from_utf8_lossy(&decoded));
                below.push('\n');
            }
            text.push_str(&below);
            layer = below;
        }
        text
    }

    #[test]
    fn user_data_is_on_the_medium_as_it_was_written() {
        let input = input();
        let seed = Seed::new(&input);
        assert_eq!(Some(&seed.files["user-data"]), input.user_data.as_ref());
        let none = Seed::new(&SeedInput {
            user_data: None,
            ..input
        });
        assert_eq!(none.files["user-data"], b"");
    }

    #[test]
    fn identity_and_network_are_told_in_json() {
        let seed = Seed::new(&input());
        let meta = json(&seed, "meta-data");
        assert_eq!(meta["instance-id"], "09090909-0909-0909-0909-090909090909");
        assert_eq!(meta["public-keys"], json!(["ssh-ed25519 AAAA me"]));
        let network = json(&seed, "network-config");
        assert_eq!(network["ethernets"]["nic0"]["dhcp-identifier"], "mac");
        assert_eq!(
            network["ethernets"]["nic0"]["match"]["macaddress"],
            "52:54:00:aa:00:01"
        );
        assert_eq!(network["ethernets"]["nic1"]["optional"], true);
        let metric =
            |nic: &str| network["ethernets"][nic]["dhcp4-overrides"]["route-metric"].clone();
        assert_eq!((metric("nic0"), metric("nic1")), (json!(100), json!(200)));
        let alone = Seed::new(&SeedInput {
            nics: input().nics[..1].to_vec(),
            ..input()
        });
        let alone = &json(&alone, "network-config")["ethernets"]["nic0"];
        assert_eq!(alone.get("dhcp4-overrides"), None);
    }

    #[test]
    fn the_first_medium_has_the_secrets_and_the_sanitized_one_has_not() {
        let full = laid_bare(&Seed::new(&input()));
        for canary in CANARIES {
            assert!(full.contains(canary), "the search finds {canary}");
        }
        let sealed = Seed::sanitized(&input());
        let text = laid_bare(&sealed);
        for canary in CANARIES {
            assert!(!text.contains(canary), "{canary}");
        }
        assert!(text.contains("start_reporter"));
        assert_eq!(
            json(&sealed, "meta-data"),
            json(&Seed::new(&input()), "meta-data")
        );
        assert_eq!(
            json(&sealed, "network-config"),
            json(&Seed::new(&input()), "network-config")
        );
    }

    #[test]
    fn the_masked_text_shows_all_but_the_secrets() {
        for seed in [Seed::new(&input()), Seed::sanitized(&input())] {
            let text = seed.masked();
            for canary in CANARIES {
                assert!(!text.contains(canary), "{canary} in {text}");
            }
            assert!(text.contains("instance-id"));
        }
        let text = Seed::new(&input()).masked();
        for shown in [
            "GREETING=\"it's \\$HOME",
            "TOKEN=\"***\"",
            "kvmctl_step 'run[0]'",
            "a  b",
            "ed25519_public",
        ] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
        assert!(
            !text
                .chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t')
        );
    }

    #[test]
    fn a_medium_tells_what_it_was_made_of() {
        let input = input();
        let back = Seed::new(&input).recover().unwrap();
        assert_eq!(back.input_hash, input.input_hash());
        assert_eq!(
            (back.run, back.command),
            (input.run.clone(), input.command.clone())
        );
        assert_eq!(back.user_data, input.user_data);
        assert_eq!(back.env[0].value.as_deref(), Some("it's $HOME\n"));
        assert_eq!(back.env[1].value, None);
        let sealed = Seed::sanitized(&input).recover().unwrap();
        assert!(sealed.sealed && sealed.user_data.is_none());
        assert_eq!(
            Seed {
                files: BTreeMap::new()
            }
            .recover(),
            None
        );
    }

    #[test]
    fn characters_that_yaml_refuses_are_escaped() {
        let value = json!("a\u{7f}\u{85}\u{2028}\u{feff}ü😀");
        let text = yaml_safe(&value);
        assert_eq!(text.trim(), "\"a\\u007f\\u0085\\u2028\\ufeffü😀\"");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
