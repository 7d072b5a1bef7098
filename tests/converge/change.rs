//! A change of an instance, killed anywhere.

use super::place::was_killed;
use super::{Place, Recovery};

#[test]
fn killed_between_engine_steps() {
    let place = Place::new("change", 6);
    let name = place.named("web");
    let small = place.manifest(&name, "");
    place.run(&["apply", "-f", &small, "--wait=false"]).ok();
    for n in 1.. {
        let recovery = Recovery::turn(n);
        let recovery = match recovery {
            Recovery::Delete => Recovery::SameCommand,
            other => other,
        };
        let when = format!("killed at boundary {n}, then {recovery:?}");
        let spec = format!("  cpus: 2\n  memory: {}M\n  disk: {}G\n", 300 + n, 10 + n);
        let manifest = std::fs::read_to_string(place.manifest(&name, &spec)).unwrap();
        let text = manifest.replace("  type: basic-1\n", "");
        let text = text.replace("spec:", &format!("  labels: {{round: r{n}}}\nspec:"));
        let manifest = place.file("changed.yaml", &text);
        let apply = ["apply", "-f", manifest.as_str(), "--wait=false"];
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &apply);
        let killed = was_killed(&run);
        if !killed {
            run.ok();
            assert!(n > 3, "the failpoints are gone");
        } else if recovery == Recovery::Reconcile {
            let status = place.field(&name, ".status.phase");
            assert_eq!(status, "Running", "{when}");
            let reason = place.field(&name, ".status.reason");
            assert!(
                reason.is_empty() || reason == "ChangeInterrupted",
                "{when}: {reason}"
            );
            place.run(&["reconcile"]).ok();
        } else {
            place.run(&apply).ok();
        }
        is_changed(&place, &name, n, &when);
        place.run(&apply).ok().prints("unchanged");
        if !killed {
            break;
        }
    }
    place.delete(&name).ok();
}

/// libvirt, the record and the listing say the same.
#[track_caller]
fn is_changed(place: &Place, name: &str, n: usize, when: &str) {
    let xml = place.virsh(&["dumpxml", "--inactive", name]).ok().stdout;
    let memory = format!("<memory unit='KiB'>{}</memory>", (300 + n) * 1024);
    assert!(xml.contains(&memory), "{when}: {xml}");
    assert!(
        xml.contains(&format!("round: r{n}")) || xml.contains(&format!("r{n}")),
        "{when}: {xml}"
    );
    let uid = place.virsh(&["domuuid", name]).ok().text().to_owned();
    let disk = format!("{name}.{}.qcow2", &uid[..8]);
    let info = place
        .virsh(&["vol-info", &disk, "--pool", &place.name, "--bytes"])
        .ok()
        .stdout;
    let bytes = ((10 + n) << 30).to_string();
    assert!(info.contains(&bytes), "{when}: {info}");
    let label = format!("round=r{n}");
    place
        .run(&["get", "instances", "-l", &label])
        .ok()
        .prints(name);
    assert!(place.field(name, ".status.reason").is_empty(), "{when}");
}
