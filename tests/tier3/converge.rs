//! A command that is killed anywhere, and the next one that finishes or undoes its work.

use super::host::{Identity, apply, expect_no_trace, field, guest_env, tiny};
use crate::support::Env;

/// More boundaries than a command has.
const MANY: usize = 60;

/// Kills a command at its first boundary, then at its second, until it comes to its end.
///
/// Returns how often it was killed.
fn kill_everywhere(env: &dyn Fn(usize) -> Env, attempt: &dyn Fn(&Env), mend: &dyn Fn()) -> usize {
    for at in 1..MANY {
        let env = env(at);
        attempt(&env);
        mend();
        if env.path("survived").exists() {
            return at - 1;
        }
    }
    panic!("still killed at boundary {MANY}");
}

fn dying(at: usize) -> Env {
    guest_env().with("KVMCTL_FAILPOINT", &at.to_string())
}

fn note(env: &Env, status: i32) {
    match status {
        0 => drop(env.file("survived", "")),
        // As `timeout` tells of a command that was killed.
        -1 | 137 => {}
        other => panic!("exit status {other}, and not killed"),
    }
}

#[test]
fn a_create_that_is_killed_anywhere_is_finished_by_the_next() {
    let env = guest_env();
    let name = "killed-create";
    let attempt = |dying: &Env| note(dying, apply(dying, &tiny(name), &["--no-wait"]).status);
    let mend = || {
        apply(&env, &tiny(name), &["--no-wait"]).ok();
        assert_eq!(field(&env, name, ".status.phase"), "Running");
        let identity = Identity::of(&env, name);
        env.kvmctl(["delete", "instance", name, "--force"]).ok();
        identity.expect_gone();
    };
    let killed = kill_everywhere(&dying, &attempt, &mend);
    assert!(killed >= 4, "only {killed} boundaries in create");
}

#[test]
fn a_create_that_is_killed_anywhere_can_be_deleted() {
    let env = guest_env();
    let name = "killed-undone";
    let attempt = |dying: &Env| note(dying, apply(dying, &tiny(name), &["--no-wait"]).status);
    let mend = || {
        env.kvmctl(["delete", "instance", name, "--force", "--ignore-not-found"])
            .ok();
        env.kvmctl(["get", "instance", name]).code(4);
        expect_no_trace(name);
    };
    kill_everywhere(&dying, &attempt, &mend);
}

#[test]
fn a_delete_that_is_killed_anywhere_is_finished_by_the_next() {
    let env = guest_env();
    let name = "killed-delete";
    let attempt = |dying: &Env| {
        apply(&env, &tiny(name), &["--no-wait"]).ok();
        let args = ["delete", "instance", name, "--force"];
        note(dying, dying.kvmctl(args).status);
    };
    let mend = || {
        env.kvmctl(["delete", "instance", name, "--force", "--ignore-not-found"])
            .ok();
        env.kvmctl(["get", "instance", name]).code(4);
        expect_no_trace(name);
    };
    let killed = kill_everywhere(&dying, &attempt, &mend);
    assert!(killed >= 3, "only {killed} boundaries in delete");
}
