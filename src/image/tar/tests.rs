use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

/// Writes one block and what follows it.
fn member(kind: u8, name: &str, link: &str, content: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0001750");
    block[116..123].copy_from_slice(b"0000062");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[136..147].copy_from_slice(b"13727410000");
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = block.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn file(name: &str) -> Vec<u8> {
    member(b'0', name, "", b"content")
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut all = members.concat();
    all.extend([0; 2 * BLOCK]);
    all
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        body.extend(format!("{length} {key}=").as_bytes());
        body.extend(*value);
        body.push(b'\n');
    }
    member(b'x', "header", "", &body)
}

fn read(bytes: &[u8]) -> Result<Tree, TarError> {
    let stop = AtomicBool::new(false);
    let unpacking = Unpacking {
        into: None,
        limit: 1 << 30,
        stop: &stop,
        progress: &mut |_| {},
    };
    unpacking.read(bytes)
}

fn refused(members: &[Vec<u8>]) -> String {
    match read(&archive(members)) {
        Err(error @ TarError::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_lose_what_says_nothing_and_parents_are_made() {
    let tree = read(&archive(&[file("./a//b/c"), member(b'5', "./", "", b"")])).unwrap();
    let names: Vec<_> = tree.names.keys().map(|n| n.as_slice()).collect();
    assert_eq!(names, [&b""[..], b"a", b"a/b", b"a/b/c"]);
    assert_eq!(tree.nodes[0].uid, 0o1750);
    assert_eq!(tree.nodes[1].uid, 0);
}

#[test]
fn what_reaches_out_is_refused() {
    for (members, why) in [
        (vec![file("/etc/passwd")], "absolute"),
        (vec![file("a/../../etc/passwd")], "'..'"),
        (vec![file("..")], "'..'"),
        (vec![member(b'3', "dev/sda", "", b"")], "is a device"),
        (vec![member(b'4', "dev/tty", "", b"")], "is a device"),
        (
            vec![member(b'2', "etc", "/etc", b""), file("etc/passwd")],
            "lies below \"etc\"",
        ),
        (
            vec![member(b'2', "a/out", "../../etc", b"")],
            "leads out of the archive",
        ),
        (vec![member(b'1', "shadow", "/etc/shadow", b"")], "absolute"),
        (
            vec![member(b'1', "shadow", "etc/shadow", b"")],
            "not in the archive before it",
        ),
        (vec![member(b'1', "s", "../etc/shadow", b"")], "'..'"),
        (vec![file("a\nb")], "control character"),
        (vec![file("a\x1b[2J")], "control character"),
        (vec![file("a"), member(b'5', "a", "", b"")], "twice"),
        (vec![member(b'S', "a", "", b"")], "sparse"),
        (vec![member(b'Z', "a", "", b"")], "unknown type"),
        (
            vec![pax(&[("path", b"/etc/cron.d/x")]), file("a")],
            "absolute",
        ),
        (
            vec![pax(&[("SCHILY.xattr.system.x", b"1")]), file("a")],
            "extended attribute",
        ),
    ] {
        let said = refused(&members);
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn links_inside_are_kept_and_absolute_ones_are_the_guests() {
    let tree = read(&archive(&[
        file("bin/sh"),
        member(b'1', "bin/ash", "./bin/sh", b""),
        member(b'2', "lib", "usr/lib", b""),
        member(b'2', "a/b/c", "../../lib", b""),
        member(b'2', "etc/mtab", "/proc/mounts", b""),
    ]))
    .unwrap();
    assert_eq!(tree.names[&b"bin/ash"[..]], tree.names[&b"bin/sh"[..]]);
    let target = &tree.nodes[tree.names[&b"etc/mtab"[..]]].kind;
    assert_eq!(*target, NodeKind::Symlink(b"/proc/mounts".to_vec()));
}

#[test]
fn the_last_of_a_name_counts() {
    let tree = read(&archive(&[file("a"), pax(&[("uid", b"5")]), file("a")])).unwrap();
    assert_eq!(tree.nodes[tree.names[&b"a"[..]]].uid, 5);
}

#[test]
fn a_value_with_a_line_end_takes_nothing_from_what_follows() {
    let value = b"\x01\n12 uid=9999\n";
    let tree = read(&archive(&[
        pax(&[
            ("SCHILY.xattr.security.capability", value),
            ("uid", b"4000000000"),
            ("mtime", b"1700000000.25"),
        ]),
        file("a"),
    ]))
    .unwrap();
    let node = &tree.nodes[1];
    assert_eq!(node.uid, 4_000_000_000);
    assert_eq!((node.mtime, node.nanos), (1_700_000_000, 250_000_000));
    assert_eq!(node.xattrs[&b"security.capability"[..]], value);
}

#[test]
fn what_is_no_archive_or_half_of_one_is_told() {
    assert!(matches!(read(&[7; 4096]), Err(TarError::NotTar)));
    let mut packed = vec![0x1f, 0x8b];
    packed.resize(4096, 1);
    assert!(matches!(
        read(&packed),
        Err(TarError::Packed { tool: "gzip" })
    ));
    let whole = archive(&[file("a"), file("b")]);
    for length in (0..whole.len() - BLOCK).step_by(100) {
        let cut = read(&whole[..length]);
        let whole_enough = length >= whole.len() - BLOCK;
        assert!(cut.is_err() || whole_enough, "{length}");
    }
    assert!(read(&whole).is_ok());
}

#[test]
fn more_than_there_is_room_for_is_refused_at_its_header() {
    let mut huge = member(b'0', "huge", "", b"");
    huge[124..135].copy_from_slice(b"77777777777");
    huge[148..156].fill(b' ');
    let sum: u64 = huge[..BLOCK].iter().map(|b| u64::from(*b)).sum();
    huge[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert!(matches!(read(&huge), Err(TarError::TooLarge { .. })));
}

proptest! {
    /// Whatever the bytes: no panic, and no name that leads out.
    #[test]
    fn any_bytes_are_read_safely(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_names_stay_inside(name in "[./a-c]{1,40}", link in "[./a-c]{1,40}", kind in 0_u8..8) {
        let bytes = archive(&[file("a"), member(b'0' + kind, &name, &link, b"")]);
        if let Ok(tree) = read(&bytes) {
            for path in tree.names.keys() {
                prop_assert!(!path.starts_with(b"/"));
                prop_assert!(!path.split(|b| *b == b'/').any(|p| p == b".."));
            }
        }
    }
}
