//! Pulling through a mirror: a cut in the middle, a wrong sum, and a create that finds nothing there.

#[path = "../../src/image/download/server.rs"]
#[expect(dead_code, reason = "only some of its misdeeds are needed here")]
mod server;

use server::{Act, Server};

use super::host::{apply, expect_no_trace, field, guest_env, host, instance};
use super::pool::Pool;
use crate::support::Env;

const DEBIAN: &str = "/debian/images/cloud/trixie/latest";
const FILE: &str = "debian-13-genericcloud-amd64.qcow2";

/// A home with a store of its own, whose images come from the server.
fn mirrored(server: &Server) -> Env {
    let env = guest_env();
    let store = env.path("store").display().to_string();
    let catalogue = env.path("catalogue.yaml").display().to_string();
    let (debian, house) = (server.url("/debian/"), server.url("/house/"));
    env.file(
        "config.yaml",
        &format!(
            "apiVersion: kvmctl/v1\ncatalogue: {catalogue}\nimageMirrors:\n  \
             https://cloud.debian.org/: {debian}\n  https://images.example/: {house}\n"
        ),
    );
    env.with("KVMCTL_STORE", &store)
}

/// A disk that boots and whose content no other image has.
fn disk(env: &Env) -> Vec<u8> {
    let images = std::env::var("KVMCTL_TEST_IMAGES").expect("tests/run.sh tells the images");
    let (from, to) = (format!("{images}/tiny.qcow2"), env.path("disk.qcow2"));
    let to = to.display().to_string();
    let convert = ["convert", "-f", "qcow2", "-O", "qcow2", &from, &to];
    env.run("qemu-img", &convert).ok();
    std::fs::read(to).unwrap()
}

fn sum(tool: &str, env: &Env) -> String {
    let path = env.path("disk.qcow2").display().to_string();
    let line = host(tool, &[&path]);
    line.split_whitespace().next().unwrap().to_owned()
}

/// What a download leaves when it is not taken: nothing, or what the next run goes on with.
fn downloads(env: &Env) -> String {
    let home = env.path("").display().to_string();
    host("find", &[&home, "-name", "*debian-13-generic*"])
}

#[test]
fn an_image_is_pulled_through_a_mirror_that_fails() {
    let server = Server::start();
    let env = mirrored(&server);
    let pool = Pool::new(&env, "im-mirror", "200M");
    let bytes = disk(&env);
    env.file("catalogue.yaml", "images: []\n");
    let before = pool.files();
    server.put(&format!("{DEBIAN}/{FILE}"), &bytes, Some("\"one\""));
    let sums = format!("{DEBIAN}/SHA512SUMS");
    let pull = ["images", "pull", "debian-13"];

    server.put(
        &sums,
        format!("{}  {FILE}\n", "0".repeat(128)).as_bytes(),
        None,
    );
    let wrong = env.kvmctl(pull);
    assert!((1..=2).contains(&wrong.status), "{wrong}");
    wrong.says("checksum");
    assert_eq!(
        (pool.files(), downloads(&env)),
        (before.clone(), String::new())
    );

    let right = format!("{}  {FILE}\n", sum("sha512sum", &env));
    server.put(&sums, right.as_bytes(), None);
    let cut = bytes.len() / 2;
    server.next(&[Act::Serve, Act::CutAfter(cut), Act::Status(403)]);
    env.kvmctl(pull).code(8).says("403");
    assert_eq!(pool.files(), before);
    assert!(downloads(&env).contains(".part"), "what has come is kept");

    env.kvmctl(pull).ok().prints("image/debian-13 pulled");
    let last = server.seen().pop().unwrap();
    let range = last
        .headers
        .get("range")
        .expect("it goes on where it was cut");
    assert_eq!(range, &format!("bytes={cut}-"), "{last:?}");
    assert_eq!(downloads(&env), "");
    env.kvmctl(pull).ok();
    env.kvmctl(["get", "image", "debian-13"]).ok();
    env.kvmctl(["delete", "image", "debian-13"]).ok();
    assert_eq!(pool.files(), before);
}

#[test]
fn a_create_pulls_what_is_missing() {
    let server = Server::start();
    let env = mirrored(&server);
    let bytes = disk(&env);
    let source = "{url: \"https://images.example/v1.qcow2\", checksum: {sha256: \"";
    let catalogue = format!(
        "images:\n- alias: house\n  os: tiny\n  version: \"1\"\n  defaultUser: root\n  \
         firmware: bios\n  sources:\n    x86_64: {source}{}\"}}}}\n",
        sum("sha256sum", &env)
    );
    env.file("catalogue.yaml", &catalogue);
    let pool = Pool::new(&env, "im-create", "200M");
    let before = pool.files();
    let more = serde_json::json!({"memory": "96Mi", "disk": "64Mi"});
    let manifest = instance("im-pulls", "house", &more);

    // Nothing there: nothing made.
    apply(&env, &manifest, &["--no-wait"]).code(4).says("404");
    env.kvmctl(["get", "instance", "im-pulls"]).code(4);
    expect_no_trace("im-pulls");
    assert_eq!(pool.files(), before);

    server.put("/house/v1.qcow2", &bytes, None);
    apply(&env, &manifest, &["--no-wait"]).ok();
    assert_eq!(field(&env, "im-pulls", ".status.phase"), "Running");
    let base = host("virsh", &["-q", "domblklist", "im-pulls"]);
    let disk = base.split_whitespace().find(|w| w.ends_with(".qcow2"));
    let info = host("qemu-img", &["info", "-U", "-f", "qcow2", disk.unwrap()]);
    assert!(info.contains("kvmctl-image-"), "{info}");
    // A partition table, so that it passes for a disk.
    let (other, kept) = (env.path("spare.raw").display().to_string(), pool.files());
    let make = format!("truncate -s 4M {other} && echo '2048,,83' | sfdisk -q {other}");
    env.run("sh", &["-c", &make]).ok();
    env.kvmctl(["images", "import", &other, "--name", "spare"])
        .ok();
    assert_ne!(pool.files(), kept);
    let prune = ["images", "prune", "--yes"];
    let pruned = env.kvmctl(prune).ok().prints("image \"spare\" deleted");
    assert!(!pruned.stdout.contains("house"), "{pruned}");
    assert_eq!(pool.files(), kept, "what an overlay lies on stays");
    env.kvmctl(["delete", "instance", "im-pulls", "--force"])
        .ok();
    // What libvirt has lost sight of is there all the same.
    let base = pool.files();
    let base = base.lines().find(|f| f.ends_with(".qcow2")).unwrap();
    let (base, aside) = (
        format!("{}/{base}", pool.path),
        format!("{}/aside", pool.path),
    );
    std::fs::rename(&base, &aside).unwrap();
    host("virsh", &["-q", "pool-refresh", "im-create"]);
    std::fs::rename(&aside, &base).unwrap();
    let tried = apply(&env, &manifest, &["--dry-run=server"]).ok();
    assert!(!tried.stderr.contains("would be pulled"), "{tried}");
    env.kvmctl(prune).ok().prints("image \"house\" deleted");
    assert_eq!(pool.files(), before);
}

#[test]
fn a_volume_comes_from_a_server_that_fails() {
    let server = Server::start();
    let env = guest_env();
    let file = env.path("disk.qcow2").display().to_string();
    let raw = env.path("disk.raw").display().to_string();
    let make = format!("head -c 3M /dev/urandom > {raw} && qemu-img convert -O qcow2 {raw} {file}");
    env.run("sh", &["-c", &make]).ok();
    let bytes = std::fs::read(&file).unwrap();
    server.put("/disk.qcow2", &bytes, Some("\"one\""));
    let (url, sum) = (server.url("/disk.qcow2"), sum("sha256sum", &env));
    let import = |more: &[&str]| {
        let args = ["volumes", "import", &url, "--name", "im-volume"];
        env.kvmctl([&args[..], more].concat())
    };
    import(&["--checksum", &sum]).code(2).says("--allow-http");
    import(&["--allow-http"]).code(2).says("--checksum");
    assert!(server.seen().is_empty(), "{:?}", server.seen());
    let wrong = "0".repeat(64);
    let wrong = import(&["--allow-http", "--checksum", &wrong]).says("checksum");
    assert!((1..=2).contains(&wrong.status), "{wrong}");
    let cache = env.path(".cache").display().to_string();
    let fetched = || host("find", &[&cache, "-name", "volume-im-volume*"]);
    assert_eq!(fetched(), "");

    let cut = bytes.len() / 2;
    server.next(&[Act::CutAfter(cut), Act::Status(403)]);
    let right = ["--allow-http", "--checksum", &sum];
    import(&right).code(8).says("403");
    env.kvmctl(["get", "volume", "im-volume"]).code(4);
    expect_no_trace("im-volume");
    assert!(fetched().contains(".part"), "what has come is kept");
    import(&right).ok();
    let last = server.seen().pop().unwrap();
    assert_eq!(
        last.headers.get("range"),
        Some(&format!("bytes={cut}-")),
        "{last:?}"
    );
    assert_eq!(fetched(), "");
    let out = env.path("out.raw").display().to_string();
    env.kvmctl(["volumes", "export", "im-volume", &out, "--format", "raw"])
        .ok();
    env.run("cmp", &[&out, &raw]).ok();
    env.kvmctl(["volumes", "delete", "im-volume"]).ok();
}
