//! What can be said of user-data before a boot is spent on it.
//!
//! cloud-init alone judges user-data: it reads another YAML than we do, and knows types that we do
//! not. So these are warnings, never refusals.

use std::fmt;

use serde_yaml::Value;

use super::report::clean;

/// Something that the writer of user-data may not have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// It starts with nothing that cloud-init knows, and would be left aside.
    UnknownType,
    /// It says `#cloud-config`, and is no YAML mapping.
    NotYaml {
        /// Why.
        reason: String,
    },
    /// It switches vendor-data off, which env, startup commands, host key and readiness travel as.
    VendorDataOff,
    /// It brings an ed25519 host key of its own, which is not the one that is pinned.
    OwnHostKey,
    /// It replaces the list of the last stage's modules by one that runs no startup commands.
    NoStartupModule,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType => f.write_str(
                "user-data starts with nothing that cloud-init knows (#cloud-config, #!, #include, MIME); it will be ignored",
            ),
            Self::NotYaml { reason } => {
                write!(f, "user-data says #cloud-config and is no YAML mapping: {reason}")
            }
            Self::VendorDataOff => f.write_str(
                "user-data switches vendor-data off: env, run, command, the pinned host key and readiness will not work",
            ),
            Self::OwnHostKey => f.write_str(
                "user-data brings its own ed25519 host key, so the guest will not have the one that is pinned",
            ),
            Self::NoStartupModule => f.write_str(
                "user-data sets cloud_final_modules without scripts_vendor, so run and command will not run",
            ),
        }
    }
}

/// Known beginnings of user-data, in lower case, as cloud-init compares them.
const BEGINNINGS: [&str; 8] = [
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "content-type:",
    "mime-version:",
];

/// Returns what there is to say of user-data.
pub fn advise(user_data: &[u8]) -> Vec<Advice> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    if user_data.is_empty() || user_data.starts_with(&GZIP) {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(user_data);
    let start: String = text.trim_start().chars().take(4096).collect();
    let start = start.to_ascii_lowercase();
    if start.contains("mime-version:") {
        return Vec::new();
    }
    if !BEGINNINGS.iter().any(|b| start.starts_with(b)) {
        return vec![Advice::UnknownType];
    }
    // Also the beginning of -archive and -jsonp.
    let first = start.lines().next().unwrap_or_default().trim_end();
    if first == "#cloud-config" {
        of_cloud_config(&text)
    } else {
        Vec::new()
    }
}

fn of_cloud_config(text: &str) -> Vec<Advice> {
    let config = match serde_yaml::from_str::<Value>(text) {
        Ok(Value::Mapping(config)) => config,
        Ok(Value::Null) => return Vec::new(),
        Ok(_) => {
            let reason = "it is a list or a single value".to_owned();
            return vec![Advice::NotYaml { reason }];
        }
        Err(error) => {
            let reason = clean(&error.to_string());
            return vec![Advice::NotYaml { reason }];
        }
    };
    let has = |section: &str, test: &dyn Fn(&Value) -> bool| config.get(section).is_some_and(test);
    let mut advice = Vec::new();
    if has("vendor_data", &|v| v.get("enabled").is_some_and(is_off)) {
        advice.push(Advice::VendorDataOff);
    }
    if has("ssh_keys", &|v| v.get("ed25519_private").is_some()) {
        advice.push(Advice::OwnHostKey);
    }
    if has("cloud_final_modules", &|v| !lists_startup(v)) {
        advice.push(Advice::NoStartupModule);
    }
    advice
}

/// cloud-init takes these words for true, and nothing else.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::String(word) => {
            !["true", "1", "on", "yes"].contains(&word.to_ascii_lowercase().as_str())
        }
        Value::Number(number) => number.as_i64() != Some(1),
        _ => true,
    }
}

/// An entry is a name, or a list of name and frequency; dashes and underscores are the same.
fn lists_startup(modules: &Value) -> bool {
    let names = modules.as_sequence().into_iter().flatten();
    names
        .filter_map(|entry| entry.as_str().or_else(|| entry.get(0)?.as_str()))
        .any(|name| name.replace('-', "_") == "scripts_vendor")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_user_data_of_any_type_needs_no_advice() {
        for text in [
            "",
            "#cloud-config\n",
            "#cloud-config\nruncmd: [[echo, hi]]\nvendor_data: {enabled: true}\n",
            "#cloud-config\ncloud_final_modules: [[scripts-vendor, always], scripts_user]\n",
            "#!/bin/sh\necho hi\n",
            "#include\nhttp://x\n",
            "## template: jinja\n#cloud-config\n{% if x %}a: [{% endif %}\n",
            "Content-Type: multipart/mixed; boundary=x\nMIME-Version: 1.0\n",
            "From nobody\nMIME-Version: 1.0\n",
            "#cloud-config-archive\n- a\n",
        ] {
            assert_eq!(advise(text.as_bytes()), [], "{text}");
        }
        assert_eq!(advise(&[0x1f, 0x8b, 8]), []);
    }

    #[test]
    fn what_would_not_work_is_told() {
        let one = |text: &str| advise(text.as_bytes()).pop().unwrap();
        assert_eq!(one("runcmd: []"), Advice::UnknownType);
        assert!(matches!(
            one("#cloud-config\na: b: c"),
            Advice::NotYaml { .. }
        ));
        assert!(matches!(one("#cloud-config\n- a"), Advice::NotYaml { .. }));
        assert_eq!(
            one("#cloud-config\nvendor_data: {enabled: no}"),
            Advice::VendorDataOff
        );
        assert_eq!(
            one("#cloud-config\nssh_keys: {ed25519_private: x}"),
            Advice::OwnHostKey
        );
        assert_eq!(
            one("#cloud-config\ncloud_final_modules: [scripts-user]"),
            Advice::NoStartupModule
        );
    }

    proptest! {
        #[test]
        fn any_user_data_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = advise(&bytes);
            let _ = advise(&[b"#cloud-config\n".as_slice(), &bytes].concat());
        }
    }
}
