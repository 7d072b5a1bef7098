//! Many commands at the same time.

use std::collections::BTreeSet;
use std::thread;

use super::host::{Identity, apply, expect_no_trace, field, guest_env, tiny};

const INSTANCES: usize = 12;

#[test]
fn creates_at_the_same_time_get_different_addresses() {
    let env = guest_env();
    let names: Vec<String> = (0..INSTANCES).map(|n| format!("many-{n}")).collect();
    thread::scope(|scope| {
        for name in &names {
            let env = &env;
            scope.spawn(move || apply(env, &tiny(name), &["--no-wait"]).ok());
        }
    });
    let unique = |path: &str| -> BTreeSet<String> {
        names.iter().map(|name| field(&env, name, path)).collect()
    };
    let addresses = unique(".status.address");
    assert!(!addresses.contains(""), "{addresses:?}");
    assert_eq!(addresses.len(), INSTANCES, "{addresses:?}");
    assert_eq!(unique(".metadata.uid").len(), INSTANCES);
    let mut args = vec!["instances", "delete", "--force"];
    args.extend(names.iter().map(String::as_str));
    env.kvmctl(args).ok();
    for name in &names {
        expect_no_trace(name);
    }
}

#[test]
fn two_applies_of_one_file_make_one_instance() {
    let env = guest_env();
    let outputs: Vec<_> = thread::scope(|scope| {
        let run = || apply(&env, &tiny("twice"), &["--no-wait"]);
        let runs = [scope.spawn(run), scope.spawn(run)];
        runs.into_iter().map(|r| r.join().unwrap()).collect()
    });
    let mut statuses: Vec<i32> = outputs.iter().map(|o| o.status).collect();
    statuses.sort_unstable();
    assert!(
        statuses == [0, 0] || statuses == [0, 7],
        "{}\n{}",
        outputs[0],
        outputs[1]
    );
    let identity = Identity::of(&env, "twice");
    let list = env.kvmctl(["get", "instances", "-o", "name"]).ok();
    assert_eq!(list.stdout.matches("instance/twice\n").count(), 1, "{list}");
    env.kvmctl(["delete", "instance", "twice", "--force"]).ok();
    identity.expect_gone();
}
