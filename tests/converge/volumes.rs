//! Volumes, killed between engine steps: the same command, `delete` or `reconcile` brings the end
//! state of one clean run.

use super::place::was_killed;
use super::{Place, Recovery};
use crate::support::{CommandOutput, Sweep};

fn killed_at(place: &Place, n: usize, args: &[&str]) -> CommandOutput {
    place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), args)
}

fn status(place: &Place, name: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    place
        .run(&["get", "volume", name, "-o", &path])
        .ok()
        .text()
        .to_owned()
}

/// The volume is there, whole and free, with its two files and nothing else.
#[track_caller]
fn is_whole(place: &Place, name: &str, size: &str, when: &str) {
    assert_eq!(status(place, name, ".status.phase"), "Available", "{when}");
    assert_eq!(status(place, name, ".status.reason"), "", "{when}");
    assert_eq!(status(place, name, ".status.capacity"), size, "{when}");
    let files: Vec<String> = place
        .traces()
        .into_iter()
        .filter(|t| t.contains(name))
        .collect();
    let expected = files.len() == 3
        && files.iter().any(|f| f.ends_with(".qcow2"))
        && files.iter().any(|f| f.ends_with(".qcow2.json"))
        && files.contains(&format!("volumes {name}.yaml"));
    assert!(expected, "{when}: {files:#?}");
}

#[test]
fn a_creation_that_was_killed() {
    let place = Place::new("vol-new", 21);
    let name = place.named("data");
    let create = ["volumes", "create", name.as_str(), "--size", "1G"];
    let before = place.traces();
    for recovery in Recovery::ALL {
        for n in 1.. {
            let when = format!("killed at boundary {n}, then {recovery:?}");
            let run = killed_at(&place, n, &create);
            if !was_killed(&run) {
                run.ok();
                assert!(n > 2, "the failpoints are gone");
                is_whole(&place, &name, "1Gi", "the clean run");
                place.run(&["volumes", "delete", &name]).ok();
                break;
            }
            let done = status(&place, &name, ".status.phase") == "Available";
            assert!(
                done || status(&place, &name, ".status.reason") == "CreateInterrupted",
                "{when}"
            );
            match recovery {
                Recovery::SameCommand if done => {
                    place.run(&create).code(5).says("AlreadyExists");
                    is_whole(&place, &name, "1Gi", &when);
                }
                Recovery::SameCommand => {
                    place.run(&create).ok();
                    is_whole(&place, &name, "1Gi", &when);
                }
                Recovery::Delete => {
                    place.run(&["volumes", "delete", &name]).ok();
                }
                Recovery::Reconcile => {
                    place.run(&["reconcile"]).ok();
                }
            }
            if place.run(&["get", "volume", &name]).status == 0 {
                place.run(&["volumes", "delete", &name]).ok();
            }
            place.is_as(&before, &when);
        }
    }
}

#[test]
fn a_change_or_deletion_that_was_killed() {
    let place = Place::new("vol-end", 22);
    let name = place.named("data");
    let before = place.traces();
    let resize = ["volumes", "resize", name.as_str(), "--size", "2G"];
    let delete = ["volumes", "delete", name.as_str()];
    for n in 1.. {
        let recovery = Recovery::turn(n);
        let when = format!("killed at boundary {n}, then {recovery:?}");
        place
            .run(&["volumes", "create", &name, "--size", "1G"])
            .ok();
        let run = killed_at(&place, n, &resize);
        let resized = !was_killed(&run);
        if !resized {
            match recovery {
                Recovery::Reconcile => place.run(&["reconcile"]).ok(),
                _ => place.run(&resize).ok(),
            };
        }
        is_whole(&place, &name, "2Gi", &when);
        let run = killed_at(&place, n, &delete);
        let deleted = !was_killed(&run);
        if !deleted && place.run(&["get", "volume", &name]).status == 0 {
            match recovery {
                Recovery::Reconcile => place.run(&["reconcile"]).ok(),
                _ => place.run(&delete).ok(),
            };
        }
        place.is_as(&before, &when);
        if resized && deleted {
            assert!(n > 3, "the failpoints are gone");
            return;
        }
    }
}

#[test]
fn an_attachment_that_was_killed() {
    let place = Place::new("vol-at", 23);
    let (name, web) = (place.named("data"), place.named("web"));
    let manifest = place.manifest(&web, "");
    place.run(&["apply", "-f", &manifest, "--wait=false"]).ok();
    place.run(&["instances", "stop", &web, "--force", "--timeout", "0s"]);
    place
        .run(&["volumes", "create", &name, "--size", "1G"])
        .ok();
    let before = place.traces();
    let attach = ["volumes", "attach", name.as_str(), web.as_str()];
    let detach = ["volumes", "detach", name.as_str(), web.as_str()];
    let disks = |when: &str, has: bool| {
        let listed = place.virsh(&["domblklist", &web, "--inactive"]).ok().stdout;
        assert_eq!(listed.contains(&name), has, "{when}: {listed}");
        assert_eq!(
            place.field(&web, ".spec.volumes[*].name"),
            if has { name.as_str() } else { "" },
            "{when}"
        );
        assert_eq!(place.field(&web, ".status.reason"), "", "{when}");
        place.is_as(&before, when);
    };
    for n in 1.. {
        let recovery = Recovery::turn(n);
        let mut killed = false;
        for (args, has) in [(&attach[..], true), (&detach[..], false)] {
            let when = format!("{args:?} killed at boundary {n}, then {recovery:?}");
            let run = killed_at(&place, n, args);
            if was_killed(&run) {
                killed = true;
                if recovery == Recovery::Reconcile {
                    place.run(&["reconcile"]).ok();
                } else {
                    place.run(args).ok();
                }
            } else {
                run.ok();
            }
            disks(&when, has);
        }
        if !killed {
            assert!(n > 2, "the failpoints are gone");
            break;
        }
    }
    place.delete(&web).ok();
    place.run(&["volumes", "delete", &name]).ok();
}

/// What one command does to a volume, and how it is afterwards.
struct Killed<'k> {
    command: &'k [&'k str],
    /// Makes what it needs.
    before: &'k [&'k [&'k str]],
    /// Whether a run that is repeated after the end may find it done.
    done: Option<i32>,
    /// What the volume is full of at the end.
    holds: u8,
}

/// Killed at every call that makes something last, then given again, or mended by `reconcile`: the end
/// is that of one clean run, and what was not replaced whole is as before.
#[test]
fn killed_at_every_rename_fsync_and_unlink() {
    let place = Place::new("vol-call", 25);
    let name = place.named("data");
    let (old, new) = (
        place.file("old.img", &"o".repeat(4096)),
        place.file("new.img", &"n".repeat(4096)),
    );
    let out = place.file("out.img", "");
    let import = [
        "volumes",
        "import",
        old.as_str(),
        "--format",
        "raw",
        "--name",
        name.as_str(),
    ];
    let upload = [
        "volumes",
        "upload",
        name.as_str(),
        new.as_str(),
        "--format",
        "raw",
    ];
    let resize = ["volumes", "resize", name.as_str(), "--size", "1M"];
    let download = [
        "volumes",
        "download",
        name.as_str(),
        out.as_str(),
        "--overwrite",
    ];
    let create = [
        "volumes", "create", &name, "--size", "1M", "--format", "raw",
    ];
    let export = [
        "volumes",
        "export",
        name.as_str(),
        out.as_str(),
        "--overwrite",
        "--compress",
    ];
    let delete = ["volumes", "delete", name.as_str()];
    let clean = place.traces();
    for killed in [
        Killed {
            command: &import,
            before: &[],
            done: Some(5),
            holds: b'o',
        },
        Killed {
            command: &create,
            before: &[],
            done: Some(5),
            holds: 0,
        },
        Killed {
            command: &upload,
            before: &[&import],
            done: None,
            holds: b'n',
        },
        Killed {
            command: &resize,
            before: &[&import],
            done: None,
            holds: b'o',
        },
        Killed {
            command: &download,
            before: &[&import],
            done: None,
            holds: b'o',
        },
        Killed {
            command: &export,
            before: &[&import],
            done: None,
            holds: b'o',
        },
        Killed {
            command: &delete,
            before: &[&import],
            done: Some(4),
            holds: b'o',
        },
    ] {
        let verb = killed.command[1];
        let mut sweep = match verb {
            "create" | "export" => Sweep::of_names(),
            _ => Sweep::new(),
        };
        while let Some((call, n)) = sweep.place() {
            for command in killed.before {
                place.run(command).ok();
            }
            let run = place.tampered(call, &format!("signal=KILL:when={n}"), killed.command);
            let when = format!("{verb} killed at {call} {n}");
            if place.strace_log().contains("killed by SIGKILL") {
                sweep.killed();
                if sweep.kills().is_multiple_of(2) {
                    place.run(&["reconcile"]).ok();
                }
                whole_or_gone(&place, &name, verb, &when);
                let again = place.run(killed.command);
                let fine = again.status == 0 || killed.done == Some(again.status);
                assert!(fine, "{when}, then again: {again}");
            } else {
                run.ok();
                sweep.survived();
            }
            let there = verb != "delete";
            assert_eq!(
                place.run(&["get", "volume", &name]).status == 0,
                there,
                "{when}"
            );
            if there {
                assert_eq!(
                    status(&place, &name, ".status.phase"),
                    "Available",
                    "{when}"
                );
                assert_eq!(status(&place, &name, ".status.reason"), "", "{when}");
                assert_eq!(content(&place, &name), Some(killed.holds), "{when}");
                place.run(&delete).ok();
            }
            place.is_as(&clean, &when);
            let beside = std::fs::read_dir(place.store().parent().unwrap()).unwrap();
            let parts = beside.filter(|e| {
                e.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".out")
            });
            assert_eq!(parts.count(), 0, "{when}: a part is left");
        }
        assert!(sweep.kills() >= 2, "{verb}: the calls are gone");
    }
}

/// The byte that the file of a volume is full of at its beginning; nothing for a mixture.
fn content(place: &Place, name: &str) -> Option<u8> {
    let bytes = std::fs::read(status(place, name, ".status.path")).unwrap();
    let first = bytes[0];
    bytes[..4096].iter().all(|b| *b == first).then_some(first)
}

#[track_caller]
fn whole_or_gone(place: &Place, name: &str, verb: &str, when: &str) {
    if matches!(verb, "import" | "create" | "delete") {
        return;
    }
    let found = content(place, name);
    assert!(matches!(found, Some(b'o' | b'n')), "{when}: {found:?}");
}

#[test]
fn a_lost_store_is_rebuilt_from_what_lies_in_the_pool() {
    let place = Place::new("vol-re", 24);
    let name = place.named("data");
    let create = ["volumes", "create", name.as_str(), "--size", "1G"];
    place.run(&create).ok();
    let uid = status(&place, &name, ".metadata.uid");
    std::fs::remove_dir_all(place.store()).unwrap();
    place.run(&["get", "volume", &name]).code(4);
    place
        .run(&["store", "rebuild"])
        .ok()
        .prints(&format!("volume/{name} rebuilt"));
    assert_eq!(status(&place, &name, ".metadata.uid"), uid);
    is_whole(&place, &name, "1Gi", "rebuilt");
    place.run(&["volumes", "delete", &name]).ok();
}
