//! `config`, and who is heard first: flag, environment, file, default.

use std::process::Command;

const BIN: &str = env!("CARGO_BIN_EXE_kvmctl");

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.ok(&[
            "config",
            "set-context",
            "one",
            "--uri",
            "test:///default",
            "--pool",
            "p1",
        ]);
        home.ok(&[
            "config",
            "set-context",
            "two",
            "--uri",
            "test:///nonexistent/two.xml",
        ]);
        home
    }

    fn run(&self, vars: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
        let output = Command::new(BIN)
            .args(args)
            .env_clear()
            .env("HOME", self.0.path())
            .envs(vars.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(&[], args);
        assert_eq!(code, 0, "{args:?} {err}");
        out
    }
}

#[test]
fn contexts_are_made_used_shown_and_removed() {
    let home = Home::new();
    assert_eq!(home.ok(&["config", "current-context"]), "default\n");
    home.ok(&["config", "use-context", "one"]);
    assert_eq!(home.ok(&["config", "current-context"]), "one\n");
    let list = home.ok(&["config", "get-contexts", "--no-headers"]);
    let one = list.lines().find(|l| l.contains("one")).unwrap();
    assert!(one.starts_with('*') && one.contains("p1"), "{list}");
    assert!(home.ok(&["config", "view"]).contains("pool: p1"));
    home.ok(&["config", "set-context", "one", "--network", "n1"]);
    let view = home.ok(&["config", "view", "-o", "json"]);
    assert!(view.contains("\"p1\"") && view.contains("\"n1\""), "{view}");

    let (code, _, err) = home.run(&[], &["config", "use-context", "twoo"]);
    assert_ne!(code, 0);
    assert!(err.contains("did you mean \"two\""), "{err}");
    assert_eq!(home.ok(&["config", "current-context"]), "one\n");
    home.ok(&["config", "delete-context", "two"]);
    let (code, _, _) = home.run(&[], &["config", "use-context", "two"]);
    assert_ne!(code, 0);
}

/// Only `test:///default` opens here; every other address tells by its error that it was heard.
#[test]
fn flag_beats_environment_beats_file() {
    let home = Home::new();
    home.ok(&["config", "use-context", "one"]);
    let list = ["get", "instances"];
    let heard = |vars: &[(&str, &str)], args: &[&str]| {
        let (code, _, err) = home.run(vars, &[args, &list].concat());
        (code == 0).then_some(()).ok_or(err)
    };
    let uri = |name| (name, "test:///nonexistent/env.xml");

    assert_eq!(heard(&[], &[]), Ok(()), "the file");
    for name in ["KVMCTL_URI", "LIBVIRT_DEFAULT_URI"] {
        assert!(
            heard(&[uri(name)], &[]).unwrap_err().contains("env.xml"),
            "{name}"
        );
        assert_eq!(heard(&[uri(name)], &["--uri", "test:///default"]), Ok(()));
        assert_eq!(heard(&[uri(name)], &["--context", "one"]), Ok(()), "{name}");
    }
    let both = [
        uri("LIBVIRT_DEFAULT_URI"),
        ("KVMCTL_URI", "test:///default"),
    ];
    assert_eq!(
        heard(&both, &[]),
        Ok(()),
        "our own variable is the nearer one"
    );
    let two = [("KVMCTL_CONTEXT", "two")];
    assert!(heard(&two, &[]).unwrap_err().contains("two.xml"));
    assert_eq!(heard(&two, &["--context", "one"]), Ok(()));
    let nobody = heard(&[("KVMCTL_CONTEXT", "on")], &[]).unwrap_err();
    assert!(nobody.contains("did you mean \"one\""), "{nobody}");
    let (code, _, err) = home.run(&[("KVMCTL_ACCELERATOR", "fast")], &list);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("auto, kvm or tcg"), "{err}");
}
