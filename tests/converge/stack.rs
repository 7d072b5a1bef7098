//! A whole stack, killed anywhere: the same file again brings the end state of one clean run.

use super::Place;
use super::place::was_killed;

/// Point 62 of kubectl's conventions.
#[test]
fn an_apply_of_everything_that_is_killed_anywhere_is_finished_by_the_next() {
    let place = Place::new("stack", 43);
    let before = place.traces();
    let file = place.file("stack.yaml", &stack(&place));
    let apply = ["apply", "-f", file.as_str(), "--wait=false"];
    let delete = ["delete", "-f", file.as_str(), "--grace-period", "0"];
    let there = || {
        let all = place.run(&["get", "all", "-o", "name"]).ok();
        let mut names: Vec<String> = all.stdout.lines().map(str::to_owned).collect();
        names.retain(|n| n.contains(&format!("/{}-", place.name)));
        names.sort();
        names
    };
    place.run(&apply).ok();
    let whole = there();
    assert_eq!(whole.len(), 5, "{whole:?}");
    place.run(&delete).ok();
    assert_eq!(there(), [""; 0]);
    for n in 1.. {
        let run = place.run_with(("KVMCTL_FAILPOINT", &n.to_string()), &apply);
        let killed = was_killed(&run);
        if killed {
            place.run(&["get", "all"]).ok();
            place.run(&apply).ok();
        } else {
            run.ok();
            assert!(n > 8, "the failpoints are gone");
        }
        assert_eq!(there(), whole, "killed at boundary {n}");
        let again = place.run(&apply).ok();
        assert!(
            again.stdout.lines().all(|l| l.ends_with(" unchanged")),
            "{again}"
        );
        place.run(&delete).ok();
        place.is_as(&before, &format!("killed at boundary {n}, then deleted"));
        if !killed {
            break;
        }
    }
}

/// The documents stand in the wrong order on purpose.
fn stack(place: &Place) -> String {
    let name = |part: &str| place.named(part);
    let (net, data, web, secret) = (name("net"), name("data"), name("web"), name("pass"));
    let forward = name("http");
    format!(
        "apiVersion: kvmctl/v1\nkind: PortForward\nmetadata: {{name: {forward}}}\n\
         spec: {{instance: {web}, hostPort: 18462, guestPort: 80}}\n---\n\
         apiVersion: kvmctl/v1\nkind: Instance\nmetadata: {{name: {web}}}\nspec:\n  image: tiny\n  \
         type: basic-1\n  networks: [{{name: {net}}}]\n  volumes: [{{name: {data}}}]\n  \
         env: [{{name: P, valueFrom: {{secret: {{name: {secret}, key: P}}}}}}]\n---\n\
         apiVersion: kvmctl/v1\nkind: Volume\nmetadata: {{name: {data}}}\nspec: {{size: 16Mi}}\n---\n\
         apiVersion: kvmctl/v1\nkind: Secret\nmetadata: {{name: {secret}}}\ndata: {{P: hunter2}}\n---\n\
         apiVersion: kvmctl/v1\nkind: Network\nmetadata: {{name: {net}}}\nspec: {{cidr: 10.214.43.0/24}}\n"
    )
}
