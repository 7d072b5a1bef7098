use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn dir() -> (tempfile::TempDir, Dir) {
    let tmp = tempfile::tempdir().unwrap();
    let dir = Dir::open(tmp.path(), "tmp").unwrap().unwrap();
    (tmp, dir)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_write_replaces_the_whole_file_for_the_owner_alone() {
    let (tmp, dir) = dir();
    dir.write("a/b/c.yaml", b"long old text", Durability::Power)
        .unwrap();
    dir.write("a/b/c.yaml", b"new", Durability::Power).unwrap();
    assert_eq!(dir.read("a/b/c.yaml").unwrap().unwrap(), b"new");
    assert_eq!(mode(&tmp.path().join("a/b/c.yaml")), 0o600);
    assert_eq!(mode(&tmp.path().join("a/b")), 0o700);
    assert_eq!(dir.list("a/b").unwrap(), ["c.yaml"]);
    assert!(
        dir.all_names("tmp").unwrap().is_empty(),
        "no temporary file stays"
    );
    assert_eq!(dir.read("a/none").unwrap(), None);
    assert!(dir.remove("a/b/c.yaml").unwrap());
    assert!(!dir.remove("a/b/c.yaml").unwrap());
    assert!(!dir.remove("none/x").unwrap());
}

#[test]
fn nothing_is_reached_through_a_link_or_a_way_out() {
    let around = tempfile::tempdir().unwrap();
    std::fs::write(around.path().join("secret"), "s").unwrap();
    let root = around.path().join("store");
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    let dir = Dir::open(&root, "tmp").unwrap().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    symlink(outside.path(), root.join("instances")).unwrap();
    symlink(outside.path().join("secret"), root.join("link.yaml")).unwrap();
    for rel in [
        "instances/secret",
        "link.yaml",
        "../secret",
        "/etc/passwd",
        "tmp/../../secret",
    ] {
        assert!(dir.read(rel).is_err(), "read {rel}");
        let stepwise = beneath::open_stepwise(&dir.fd, rel, OFlags::RDONLY, Mode::empty());
        assert!(stepwise.is_err(), "stepwise {rel}");
    }
    for rel in ["instances/secret", "../secret", "/tmp/x"] {
        let error = dir.write(rel, b"x", Durability::Process).unwrap_err();
        assert!(matches!(error, StoreError::Symlink(_)), "{rel}: {error}");
    }
    // A link in the place of the file itself is replaced, and what it leads to left alone.
    dir.write("link.yaml", b"mine", Durability::Process)
        .unwrap();
    assert_eq!(dir.read("link.yaml").unwrap().unwrap(), b"mine");
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"s");
    assert!(
        dir.open_or_make("instances/new.lock", OFlags::empty())
            .is_err()
    );
    assert!(dir.list("instances").is_err());
}

#[test]
fn the_stepwise_way_opens_what_openat2_opens() {
    let (_tmp, dir) = dir();
    dir.write("a/b/c", b"x", Durability::Process).unwrap();
    for rel in ["a/b/c", "a"] {
        assert!(
            beneath::open_stepwise(&dir.fd, rel, OFlags::RDONLY, Mode::empty()).is_ok(),
            "{rel}"
        );
    }
    let missing =
        beneath::open_stepwise(&dir.fd, "a/x/c", OFlags::RDONLY, Mode::empty()).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_pipe_or_a_giant_is_refused_and_does_not_hang() {
    let (tmp, dir) = dir();
    let pipe = tmp.path().join("pipe.yaml");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(
        dir.read("pipe.yaml"),
        Err(StoreError::WrongType { .. })
    ));
    assert!(matches!(dir.read("."), Err(StoreError::WrongType { .. })));
    let giant = File::create(tmp.path().join("giant")).unwrap();
    giant.set_len(MAX_FILE + 1).unwrap();
    assert!(matches!(dir.read("giant"), Err(StoreError::Damaged { .. })));
}

#[test]
fn what_a_dead_writer_left_is_swept_and_a_living_ones_is_not() {
    let (tmp, dir) = dir();
    dir.write("x", b"", Durability::Process).unwrap();
    let leave = |name: &str| std::fs::write(tmp.path().join("tmp").join(name), "half").unwrap();
    leave(".tmp-dead");
    leave("not-ours");
    let temp = dir.subdir("tmp").unwrap();
    let living = dir
        .write_temp(&temp, ".tmp-living", b"half", Durability::Process)
        .unwrap();
    assert_eq!(dir.sweep().unwrap(), 1);
    let mut left = dir.all_names("tmp").unwrap();
    left.sort();
    assert_eq!(left, [".tmp-living", "not-ours"]);
    drop(living);
    assert_eq!(dir.sweep().unwrap(), 1);
}

const CUT_IN: &str = "KVMCTL_TEST_CUT_IN";

/// The child of the next test, which alone gives it a place: every file of it ends at 4096 bytes.
#[test]
fn write_under_a_limit() {
    let Ok(at) = std::env::var(CUT_IN) else {
        return;
    };
    let dir = Dir::open(Path::new(&at), "tmp").unwrap().unwrap();
    let error = dir
        .write("a.yaml", &[b'x'; 50_000], Durability::Power)
        .unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    dir.write("b.yaml", b"small", Durability::Power).unwrap();
}

#[test]
#[expect(
    clippy::disallowed_types,
    reason = "the test starts itself under a limit"
)]
fn a_write_that_is_cut_leaves_the_old_file_and_nothing_half() {
    let (_tmp, dir) = dir();
    dir.write("a.yaml", b"old", Durability::Power).unwrap();
    // The limit on file sizes stands in for the full disk: the kernel cuts the write in the middle.
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::file::tests::write_under_a_limit", "-q"])
        .env(CUT_IN, dir.path())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(dir.read("a.yaml").unwrap().unwrap(), b"old");
    assert_eq!(
        dir.read("b.yaml").unwrap().unwrap(),
        b"small",
        "the child ran"
    );
    assert!(dir.all_names("tmp").unwrap().is_empty());
}

#[test]
fn a_shared_directory_lends_its_files_to_the_group() {
    let (tmp, _) = dir();
    std::fs::set_permissions(tmp.path(), std::fs::Permissions::from_mode(0o2770)).unwrap();
    let dir = Dir::open(tmp.path(), "tmp").unwrap().unwrap();
    dir.write("a/b", b"", Durability::Process).unwrap();
    dir.open_or_make("locks/l", OFlags::empty()).unwrap();
    assert_eq!(mode(&tmp.path().join("a/b")), 0o660);
    assert_eq!(mode(&tmp.path().join("a")), 0o2770);
    assert_eq!(mode(&tmp.path().join("locks/l")), 0o660);
}
