use std::collections::BTreeMap;

use super::*;
use crate::image::tar::Unpacking;

fn debugfs(image: &Path, request: &str) -> String {
    let tool = find_in_sbin(&["debugfs"], "e2fsprogs").unwrap();
    let args = ["-R", request, &image.to_string_lossy()];
    let output = tool.run(&args, b"", None).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn node(kind: NodeKind, uid: u32, mode: u32) -> Node {
    let (gid, mtime, nanos, xattrs) = (7, 1_600_000_000, 250, BTreeMap::new());
    Node {
        kind,
        mode,
        uid,
        gid,
        mtime,
        nanos,
        xattrs,
    }
}

fn make(dir: &Path, tree: &Tree, size: u64) -> Result<PathBuf, Ext4Error> {
    let stop = AtomicBool::new(false);
    Ext4::find()
        .unwrap()
        .make(dir, tree, size, &stop, &mut |_, _| {})
}

#[test]
fn owners_modes_links_and_odd_names_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = node(NodeKind::File(3), 100_000, 0o4755);
    // A byte 10 in a value, and a name with quotes and blanks.
    let value = b"\x01\x00\x00\x02\x0a\x04\n\"".to_vec();
    file.xattrs.insert(b"security.test".to_vec(), value);
    file.xattrs.insert(b"user.note".to_vec(), b"x".to_vec());
    std::fs::write(dir.path().join("c2"), b"abc").unwrap();
    let tree = Tree {
        nodes: vec![
            node(NodeKind::Directory, 33, 0o750),
            node(NodeKind::Directory, 1, 0o1777),
            file,
            node(NodeKind::Symlink(b"../et\"c".to_vec()), 5, 0o777),
            node(NodeKind::Fifo, 0, 0o600),
        ],
        names: [
            (&b""[..], 0),
            (b"a \"b\"", 1),
            (b"a \"b\"/f\xff one", 2),
            (b"<2>", 2),
            (b"link", 3),
            (b"a \"b\"/pipe", 4),
        ]
        .map(|(n, i)| (n.to_vec(), i))
        .into(),
        acls: 0,
    };
    let image = make(dir.path(), &tree, fitting_size(&tree)).unwrap();
    let root = debugfs(&image, "stat /");
    assert!(
        root.contains("User:    33") && root.contains("Mode:  0750"),
        "{root}"
    );
    let file = debugfs(&image, "stat \"/<2>\"");
    for part in [
        "Links: 2",
        "Mode:  04755",
        "User: 100000",
        "Group:     7",
        "mtime: 0x5f5e1000:000003e8",
        "user.note (1) = \"x\"",
        "security.test (8) = 01 00 00 02 0a 04 0a 22",
    ] {
        assert!(file.contains(part), "{part}: {file}");
    }
    assert_eq!(debugfs(&image, "cat \"/<2>\""), "abc");
    assert!(debugfs(&image, "stat /link").contains("Fast link dest: \"../et\"c\""));
    let pipe = debugfs(&image, "stat \"/a \"\"b\"\"/pipe\"");
    assert!(pipe.contains("Type: FIFO"), "{pipe}");
}

#[test]
fn the_least_size_is_enough_and_less_is_told() {
    for (files, bytes) in [(3_000, 100), (40, 1 << 20)] {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree {
            nodes: vec![node(NodeKind::Directory, 0, 0o755)],
            names: [(Vec::new(), 0)].into(),
            acls: 0,
        };
        for n in 1..=files {
            std::fs::write(dir.path().join(format!("c{n}")), vec![7; bytes]).unwrap();
            tree.nodes
                .push(node(NodeKind::File(bytes as u64), 0, 0o644));
            tree.names.insert(format!("file-{n}").into_bytes(), n);
        }
        make(dir.path(), &tree, least_size(&tree)).unwrap();
        std::fs::remove_file(dir.path().join(IMAGE)).unwrap();
        if bytes > 4096 {
            let error = make(dir.path(), &tree, 24 << 20).unwrap_err();
            assert!(matches!(error, Ext4Error::Refused(_)), "{error}");
        }
    }
}

/// What GNU tar writes of a tree with everything in it is read, down to the last attribute.
#[test]
fn what_tar_writes_is_what_the_file_system_holds() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let long = "d".repeat(120);
    std::fs::create_dir_all(source.join(&long)).unwrap();
    std::fs::write(source.join(&long).join("x".repeat(200)), b"deep").unwrap();
    std::fs::write(source.join("plain"), b"p").unwrap();
    std::fs::hard_link(source.join("plain"), source.join("twin")).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        if format == "ustar" {
            std::fs::remove_dir_all(source.join(&long)).unwrap();
        }
        let archive = dir.path().join(format);
        let format_option = format!("--format={format}");
        let archive_text = archive.to_string_lossy();
        let source_text = source.to_string_lossy();
        let args = [
            "-c",
            &format_option,
            "--owner=u:70000",
            "--group=g:80000",
            "-f",
            &archive_text,
            "-C",
            &source_text,
            ".",
        ];
        Tool::find(&["tar"], "tar")
            .unwrap()
            .run(&args, b"", None)
            .unwrap();
        let work = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let unpacking = Unpacking {
            into: Some(work.path()),
            limit: u64::MAX,
            stop: &stop,
            progress: &mut |_| {},
        };
        let tree = unpacking
            .read(std::fs::File::open(&archive).unwrap())
            .unwrap();
        let image = make(work.path(), &tree, fitting_size(&tree)).unwrap();
        let plain = debugfs(&image, "stat /twin");
        assert!(
            plain.contains("Links: 2") && plain.contains("User: 70000"),
            "{plain}"
        );
        if format != "ustar" {
            let deep = format!("cat /{long}/{}", "x".repeat(200));
            assert_eq!(debugfs(&image, &deep), "deep", "{format}");
        }
    }
}
