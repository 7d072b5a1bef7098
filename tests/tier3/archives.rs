//! Volumes that begin as what a tar archive holds, and archives that must not be taken.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::host::{expect_no_trace, guest_env, host};
use crate::support::{CommandOutput, Env};

const POOL: &str = "/var/lib/libvirt/images";

fn volume(env: &Env, name: &str, path: &str) -> String {
    let format = format!("jsonpath={{{path}}}");
    env.kvmctl(["get", "volume", name, "-o", &format])
        .ok()
        .text()
        .to_owned()
}

/// A volume's file system, to be looked at.
struct Mounted(PathBuf);

impl Mounted {
    #[track_caller]
    fn new(env: &Env, image: &str) -> Self {
        let at = env.path("mnt");
        fs::create_dir_all(&at).unwrap();
        let point = at.display().to_string();
        env.run("mount", &["-o", "ro,loop", image, &point]).ok();
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        host("umount", &[&self.0.display().to_string()]);
    }
}

/// What Docker's containers have in them, and more.
fn source(env: &Env) -> PathBuf {
    let dir = env.path("source");
    let deep = dir.join("usr/lib/a b/\"quoted\"");
    fs::create_dir_all(&deep).unwrap();
    fs::write(dir.join("usr/tool"), vec![7; 300_000]).unwrap();
    fs::hard_link(dir.join("usr/tool"), dir.join("usr/lib/same")).unwrap();
    fs::write(deep.join("x".repeat(240)), "long").unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    symlink("usr/lib", dir.join("lib")).unwrap();
    symlink("/proc/mounts", dir.join("mtab")).unwrap();
    symlink("y".repeat(900), deep.join("far")).unwrap();
    for n in 0..300 {
        fs::write(dir.join(format!("usr/lib/file-{n}")), n.to_string()).unwrap();
    }
    host("mkfifo", &[&dir.join("pipe").display().to_string()]);
    let own = |path: &str, owner: &str, mode: u32| {
        let path = dir.join(path);
        host("chown", &[owner, &path.display().to_string()]);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    own("usr/tool", "1000:2000", 0o4755);
    own("usr/lib", "4000000:70000", 0o1777);
    own("empty", "33:33", 0o000);
    own(".", "999:999", 0o700);
    let capability =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(
        dir.join("usr/tool"),
        "security.capability",
        capability,
        flags,
    )
    .unwrap();
    dir
}

fn archive(env: &Env, dir: &Path) -> String {
    let file = env.path("source.tar").display().to_string();
    let dir = dir.display().to_string();
    let args = [
        "--xattrs",
        "--xattrs-include=*",
        "--format=pax",
        "-cf",
        &file,
        "-C",
        &dir,
        ".",
    ];
    env.run("tar", &args).ok();
    file
}

#[test]
fn a_volume_begins_as_what_an_archive_holds() {
    let env = guest_env();
    let dir = source(&env);
    let file = archive(&env, &dir);
    let from = ["--from-tar", file.as_str(), "--fs", "ext4"];
    let create = |name: &str, more: &[&str]| {
        let mut args = vec!["volumes", "create", name];
        args.extend(from);
        args.extend(more);
        env.kvmctl(args)
    };
    create("t3-tar", &["--format", "raw"]).ok();
    let path = volume(&env, "t3-tar", ".status.path");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    env.run("e2fsck", &["-fn", &path]).ok();
    {
        let mounted = Mounted::new(&env, &path);
        let at = mounted.0.display().to_string();
        // Content, owners, modes, times, links: whatever differs is named.
        env.run("tar", &["--compare", "-f", &file, "-C", &at]).ok();
        let mut value = [0; 64];
        let tool = mounted.0.join("usr/lib/same");
        let length = rustix::fs::getxattr(&tool, "security.capability", &mut value[..]).unwrap();
        assert_eq!((length, value[8]), (20, 0x0a));
        let (one, other) = (
            fs::metadata(&tool),
            fs::metadata(mounted.0.join("usr/tool")),
        );
        use std::os::unix::fs::MetadataExt;
        assert_eq!(one.unwrap().ino(), other.unwrap().ino());
    }
    create("t3-tar-2", &["--size", "64M"]).ok();
    assert_eq!(volume(&env, "t3-tar-2", ".status.capacity"), "64Mi");
    let packed = volume(&env, "t3-tar-2", ".status.path");
    assert!(fs::metadata(&packed).unwrap().len() < 32 << 20);
    let plain = env.path("plain.raw").display().to_string();
    env.run(
        "qemu-img",
        &["convert", "-f", "qcow2", "-O", "raw", &packed, &plain],
    )
    .ok();
    {
        let mounted = Mounted::new(&env, &plain);
        let at = mounted.0.display().to_string();
        env.run("tar", &["--compare", "-f", &file, "-C", &at]).ok();
    }
    create("t3-tar-3", &["--size", "4M"])
        .code(2)
        .says("spec.size");
    create("t3-tar-3", &["--fs", "xfs"]).code(2);
    let shown = create("t3-tar-3", &["--dry-run=server"]).ok();
    shown.prints("t3-tar-3");
    for name in ["t3-tar", "t3-tar-2"] {
        env.kvmctl(["volumes", "delete", name]).ok();
    }
    expect_no_trace("t3-tar-3");
    let cache = env.path(".cache/kvmctl/staging").display().to_string();
    assert_eq!(host("ls", &["-A", &cache]), "", "left in the cache");
}

/// Runs kvmctl with every file that is opened written down.
fn watched(env: &Env, args: &[&str]) -> (CommandOutput, String) {
    let log = env.path("opened").display().to_string();
    let calls = "trace=open,openat,openat2,creat,execve,link,linkat,rename,renameat2,stat,readlink";
    let mut all = vec!["-f", "-qq", "-s", "4096", "-e", calls, "-o", &log];
    all.push(env!("CARGO_BIN_EXE_kvmctl"));
    all.extend(args);
    let output = env.run("strace", &all);
    (output, fs::read_to_string(&log).unwrap())
}

/// None of the tools that see a stranger's file has opened what the file names.
#[test]
fn what_hostile_files_name_is_never_opened() {
    let env = guest_env();
    let secret = env
        .file("secret-of-the-host", "root:x:0:0")
        .display()
        .to_string();
    let qcow2 = |name: &str, option: &[&str]| {
        let path = env.path(name).display().to_string();
        let mut args = vec!["create", "-q", "-f", "qcow2"];
        args.extend(option);
        args.extend([path.as_str(), "64M"]);
        env.run("qemu-img", &args).ok();
        path
    };
    let backed = qcow2("backed", &["-u", "-b", &secret, "-F", "raw"]);
    let json = format!(
        "json:{{\"driver\":\"raw\",\"file\":{{\"driver\":\"file\",\"filename\":\"{secret}\"}}}}"
    );
    let named = qcow2("named", &["-u", "-b", &json, "-F", "raw"]);
    let outside = qcow2("outside", &[]);
    let data = env.path("data").display().to_string();
    let option = format!("data_file={data}");
    let apart = qcow2("apart", &["-o", &option]);
    let option = format!("data_file={secret}");
    env.run("qemu-img", &["amend", "-f", "qcow2", "-o", &option, &apart]);
    let vmdk = env.file(
        "extents",
        &format!("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 131072 FLAT \"{secret}\" 0\n"),
    );
    let vmdk = vmdk.display().to_string();
    for file in [&backed, &named, &apart, &vmdk] {
        let begin = std::time::Instant::now();
        let (output, opened) =
            watched(&env, &["volumes", "import", file, "--name", "t3-evil-file"]);
        output.code(2).says("error:");
        assert!(begin.elapsed().as_secs() < 20, "{file}");
        assert!(!opened.contains("secret-of-the-host"), "{file}: {opened}");
    }
    let (output, opened) = watched(&env, &["volumes", "import", &outside, "--name", "t3-fine"]);
    output.ok();
    assert!(opened.contains("outside"), "nothing was seen: {opened}");
    env.kvmctl(["volumes", "delete", "t3-fine"]).ok();
    for (name, make) in hostile_archives(&secret) {
        let path = env.path(&format!("{name}.tar")).display().to_string();
        let work = env.path(name);
        fs::create_dir(&work).unwrap();
        let script = format!("set -e; cd {}; {make}", work.display());
        env.run("bash", &["-c", &script.replace("OUT", &path)]).ok();
        let args = ["volumes", "create", "t3-evil-tar", "--from-tar", &path];
        let (output, opened) = watched(&env, &args);
        output.code(2).says("error:");
        assert!(!opened.contains("secret-of-the-host"), "{name}: {opened}");
        assert!(
            !opened.contains("mke2fs\", ["),
            "{name}: made before it was checked"
        );
    }
    env.kvmctl(["get", "volume", "t3-evil-file"]).code(4);
    env.kvmctl(["get", "volume", "t3-evil-tar"]).code(4);
    let found = host("find", &[POOL, "-name", "t3-evil*"]);
    assert_eq!(found, "", "something was made");
}

fn hostile_archives(secret: &str) -> [(&'static str, String); 6] {
    [
        ("absolute", format!("tar -P -cf OUT {secret}")),
        (
            "climbing",
            "mkdir in; echo x > out; tar -P -cf OUT -C in ../out".to_owned(),
        ),
        ("device", "mknod null c 1 3; tar -cf OUT null".to_owned()),
        (
            "through-link",
            "mkdir d; echo x > d/f; tar -cf a d/f; rm -r d; ln -s / d; tar -cf OUT d; tar -Af OUT a"
                .to_owned(),
        ),
        (
            "hard-link",
            format!("ln {secret} here; tar -P -cf OUT {secret} here --transform 's,^/.*secret-of-the-host$,../x,S'"),
        ),
        (
            "climbing-link",
            "mkdir d; ln -s ../../../../../etc/passwd d/l; tar -cf OUT d".to_owned(),
        ),
    ]
}
