use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::*;
use crate::host::Tool;

mod hostile;

/// A directory in which qemu-img makes images.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs qemu-img here.
    fn qemu_img(&self, words: &str) {
        let tool = Tool::find(&["qemu-img"], "qemu-utils").unwrap();
        let args: Vec<&str> = words.split_whitespace().collect();
        tool.run(&args, b"", Some(self.0.path())).unwrap();
    }

    fn inspect(&self, name: &str) -> Result<Inspected, ImageError> {
        inspect_file(&self.path(name))
    }
}

fn inspect_file(path: &Path) -> Result<Inspected, ImageError> {
    inspect(&mut fs::File::open(path).unwrap(), &Limits::default())
}

fn inspect_bytes(bytes: &[u8]) -> Result<Inspected, ImageError> {
    inspect(&mut Cursor::new(bytes), &Limits::default())
}

/// A small sound qcow2, as qemu-img makes it.
fn sound() -> Vec<u8> {
    let bench = Bench::new();
    bench.qemu_img("create -q -f qcow2 a.qcow2 1G");
    fs::read(bench.path("a.qcow2")).unwrap()
}

/// The sound image with `bytes` written over it at `offset`.
fn patched(offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = sound();
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
    image
}

fn disk_with_mbr() -> Vec<u8> {
    let mut disk = vec![0; 1 << 20];
    disk[446 + 4] = 0x83;
    disk[446 + 12] = 8;
    disk[510..512].copy_from_slice(b"\x55\xaa");
    disk
}

#[test]
fn images_that_qemu_img_makes_are_taken() {
    let bench = Bench::new();
    for (options, version, compression, extended_l2) in [
        ("compat=0.10", 2, Compression::Zlib, false),
        ("compat=1.1", 3, Compression::Zlib, false),
        ("compression_type=zstd", 3, Compression::Zstd, false),
        ("extended_l2=on", 3, Compression::Zlib, true),
        ("cluster_size=512", 3, Compression::Zlib, false),
        ("cluster_size=2M", 3, Compression::Zlib, false),
        ("refcount_bits=1", 3, Compression::Zlib, false),
        ("lazy_refcounts=on", 3, Compression::Zlib, false),
        ("preallocation=metadata", 3, Compression::Zlib, false),
    ] {
        bench.qemu_img(&format!("create -q -f qcow2 -o {options} a.qcow2 1G"));
        let found = bench
            .inspect("a.qcow2")
            .unwrap_or_else(|e| panic!("{options}: {e}"));
        assert_eq!(found.format, DiskFormat::Qcow2);
        assert_eq!(found.virtual_size, Quantity::gib(1));
        let details = found.qcow2.unwrap();
        assert_eq!(
            (details.version, details.compression, details.extended_l2),
            (version, compression, extended_l2),
            "{options}"
        );
    }
}

#[test]
fn a_converted_and_compressed_image_with_data_is_taken() {
    let bench = Bench::new();
    let mut disk = disk_with_mbr();
    for (index, byte) in disk[4096..].iter_mut().enumerate() {
        *byte = ((index * index) >> 7) as u8;
    }
    fs::write(bench.path("a.raw"), &disk).unwrap();
    for options in ["", "-c", "-c -o compression_type=zstd"] {
        bench.qemu_img(&format!("convert -f raw -O qcow2 {options} a.raw a.qcow2"));
        let found = bench.inspect("a.qcow2").unwrap();
        assert_eq!(found.virtual_size.bytes(), 1 << 20, "{options}");
    }
    let found = bench.inspect("a.raw").unwrap();
    assert_eq!(found.format, DiskFormat::Raw);
    assert_eq!(found.partitions, Some(PartitionTable::Mbr));
}

#[test]
fn an_image_that_names_a_backing_file_is_refused_with_the_name() {
    let bench = Bench::new();
    for options in ["", "-o compat=0.10"] {
        bench.qemu_img(&format!(
            "create -q -u -f qcow2 {options} -b /etc/passwd -F raw a.qcow2 1G"
        ));
        let error = bench.inspect("a.qcow2").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image needs a backing file, \"/etc/passwd\""
        );
    }
}

#[test]
fn an_image_that_names_a_data_file_is_refused_with_the_name() {
    let bench = Bench::new();
    bench.qemu_img("create -q -f qcow2 -o data_file=d.raw,data_file_raw=on a.qcow2 64M");
    bench.qemu_img("amend -f qcow2 -o data_file=/etc/passwd a.qcow2");
    let error = bench.inspect("a.qcow2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image keeps its data in an external data file, \"/etc/passwd\""
    );
}

#[test]
fn a_data_file_name_without_its_feature_bit_is_refused_too() {
    let mut image = sound();
    let length = u32::from_be_bytes(*image[100..].first_chunk().unwrap()) as usize;
    let extension = b"\x44\x41\x54\x41\0\0\0\x0b/etc/passwd\0\0\0\0\0\0\0\0\0\0\0\0\0";
    image[length..length + extension.len()].copy_from_slice(extension);
    let error = inspect_bytes(&image).unwrap_err();
    assert!(matches!(
        error,
        ImageError::ExternalDataFile { name: Some(_) }
    ));
}

#[test]
fn encrypted_images_are_refused() {
    let bench = Bench::new();
    bench.qemu_img(
        "create -q -f qcow2 --object secret,id=s,data=geheim -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 a.qcow2 64M",
    );
    let error = bench.inspect("a.qcow2").unwrap_err();
    assert!(matches!(error, ImageError::Encrypted("LUKS")), "{error}");
    let error = inspect_bytes(b"LUKS\xba\xbe\0\x02").unwrap_err();
    assert!(
        matches!(error, ImageError::Foreign(Foreign::Luks)),
        "{error}"
    );
}

#[test]
fn internal_snapshots_are_refused() {
    let bench = Bench::new();
    bench.qemu_img("create -q -f qcow2 a.qcow2 64M");
    bench.qemu_img("snapshot -c one a.qcow2");
    bench.qemu_img("snapshot -c two a.qcow2");
    let error = bench.inspect("a.qcow2").unwrap_err();
    assert!(matches!(error, ImageError::InternalSnapshots(2)), "{error}");
}

#[test]
fn absurd_sizes_are_refused() {
    let bench = Bench::new();
    bench.qemu_img("create -q -f qcow2 a.qcow2 100T");
    assert!(bench.path("a.qcow2").metadata().unwrap().len() < 4 << 20);
    let error = bench.inspect("a.qcow2").unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");

    bench.qemu_img("create -q -f qcow2 b.qcow2 10G");
    let mut file = fs::File::open(bench.path("b.qcow2")).unwrap();
    let small = Limits::for_pool(10 << 30);
    let error = inspect(&mut file, &small).unwrap_err();
    assert!(matches!(error, ImageError::DoesNotFit { .. }), "{error}");
    assert!(inspect(&mut file, &Limits::for_pool(12 << 30)).is_ok());
}

#[test]
fn other_formats_are_refused_by_name() {
    let bench = Bench::new();
    for (format, kind) in [
        ("vmdk", Foreign::Vmdk),
        ("vpc", Foreign::Vhd),
        ("vpc -o subformat=fixed", Foreign::Vhd),
        ("vmdk -o subformat=monolithicFlat", Foreign::Vmdk),
        ("vhdx", Foreign::Vhdx),
        ("vdi", Foreign::Vdi),
        ("qed", Foreign::Qed),
        ("qcow", Foreign::Qcow1),
        ("parallels", Foreign::Parallels),
    ] {
        bench.qemu_img(&format!("create -q -f {format} a.img 8M"));
        let result = bench.inspect("a.img");
        if kind == Foreign::Qcow1 {
            assert!(matches!(result, Err(ImageError::Version(1))), "{result:?}");
        } else {
            let error = result.unwrap_err();
            assert!(
                matches!(error, ImageError::Foreign(k) if k == kind),
                "{format}: {error}"
            );
        }
        fs::remove_file(bench.path("a.img")).unwrap();
    }
}

#[test]
fn packed_files_archives_and_web_pages_are_refused_by_name() {
    let bench = Bench::new();
    fs::write(bench.path("a.raw"), disk_with_mbr()).unwrap();
    for (tool, args, made, kind) in [
        ("gzip", "-k a.raw", "a.raw.gz", Foreign::Gzip),
        ("xz", "-k a.raw", "a.raw.xz", Foreign::Xz),
        ("zstd", "-q -k a.raw", "a.raw.zst", Foreign::Zstd),
        ("bzip2", "-k a.raw", "a.raw.bz2", Foreign::Bzip2),
        ("tar", "-cf a.tar a.raw", "a.tar", Foreign::Tar),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let tool = Tool::find(&[tool], "").unwrap();
        tool.run(&args, b"", Some(bench.0.path())).unwrap();
        let error = bench.inspect(made).unwrap_err();
        assert!(
            matches!(error, ImageError::Foreign(k) if k == kind),
            "{made}: {error}"
        );
    }
    for page in [
        "<!DOCTYPE html><html>",
        "\u{feff}\n  <HTML>",
        "<?xml version='1.0'?>",
    ] {
        let error = inspect_bytes(page.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ImageError::Foreign(Foreign::Html)),
            "{page}"
        );
    }
}

#[test]
fn a_bootable_cd_is_a_cd_and_no_disk() {
    let mut cd = disk_with_mbr();
    cd[16 * 2048 + 1..16 * 2048 + 6].copy_from_slice(b"CD001");
    let error = inspect_bytes(&cd).unwrap_err();
    assert!(matches!(error, ImageError::Foreign(Foreign::Iso)));
}

#[test]
fn a_raw_disk_needs_a_partition_table() {
    let mut gpt = vec![0; 1 << 20];
    gpt[512..520].copy_from_slice(b"EFI PART");
    assert_eq!(
        inspect_bytes(&gpt).unwrap().partitions,
        Some(PartitionTable::Gpt)
    );
    let mut bare = vec![0; 1 << 20];
    // The boot sector of a FAT: the signature, and text where partitions would be.
    bare[..3].copy_from_slice(b"\xeb\x3c\x90");
    bare[446..510].fill(b'x');
    bare[510..512].copy_from_slice(b"\x55\xaa");
    for none in [&bare[..], &vec![0; 4096], b"hello", b"QFI", b"\0"] {
        let error = inspect_bytes(none).unwrap_err();
        assert!(matches!(error, ImageError::Unrecognised { .. }), "{error}");
    }
    assert!(matches!(inspect_bytes(b""), Err(ImageError::Empty)));
    let cut = &disk_with_mbr()[..1000];
    assert!(matches!(
        inspect_bytes(cut),
        Err(ImageError::Truncated { .. })
    ));
}

#[test]
fn a_cut_image_is_refused_wherever_it_is_cut() {
    let bench = Bench::new();
    let mut disk = disk_with_mbr();
    disk[8192..].fill(5);
    fs::write(bench.path("a.raw"), &disk).unwrap();
    bench.qemu_img("convert -f raw -O qcow2 a.raw a.qcow2");
    let image = fs::read(bench.path("a.qcow2")).unwrap();
    for length in [
        4, 8, 71, 72, 103, 104, 200, 65536, 65537, 0x2_0000, 0x3_0007,
    ] {
        assert!(inspect_bytes(&image[..length]).is_err(), "{length}");
    }
    assert!(inspect_bytes(&image).is_ok());
}

#[test]
fn features_that_we_do_not_know_are_named() {
    // The feature name table of QEMU gives names to bits; an unknown one gets its number.
    let error = inspect_bytes(&patched(72, &(1u64 << 63 | 1 << 7).to_be_bytes())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image needs unknown qcow2 features: bit 7, bit 63"
    );
    let mut image = patched(72, &(1u64 << 9).to_be_bytes());
    let name = image.windows(9).position(|w| w == b"dirty bit").unwrap();
    image[name - 1] = 9;
    image[name..name + 9].copy_from_slice(b"\x1b[31mEvil");
    let error = inspect_bytes(&image).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"the image needs unknown qcow2 features: bit 9 ("\u{1b}[31mEvil")"#
    );
}

#[test]
fn dirty_corrupt_and_contradictory_headers_are_refused() {
    let feature = |bit: u32| patched(72, &(1u64 << bit).to_be_bytes());
    assert!(matches!(inspect_bytes(&feature(0)), Err(ImageError::Dirty)));
    assert!(matches!(
        inspect_bytes(&feature(1)),
        Err(ImageError::Corrupt)
    ));
    assert!(matches!(
        inspect_bytes(&feature(2)),
        Err(ImageError::ExternalDataFile { name: None })
    ));
    for (offset, bytes) in [
        (20, &8u32.to_be_bytes()[..]),         // cluster_bits
        (20, &22u32.to_be_bytes()),            // cluster_bits
        (20, &u32::MAX.to_be_bytes()),         // cluster_bits
        (24, &0u64.to_be_bytes()),             // virtual size
        (24, &u64::MAX.to_be_bytes()),         // virtual size
        (36, &u32::MAX.to_be_bytes()),         // L1 entries
        (36, &0u32.to_be_bytes()),             // L1 entries
        (40, &3u64.to_be_bytes()),             // L1 offset
        (40, &(u64::MAX << 16).to_be_bytes()), // L1 offset
        (48, &0u64.to_be_bytes()),             // refcount table offset
        (48, &(1u64 << 40).to_be_bytes()),     // refcount table offset
        (56, &0u32.to_be_bytes()),             // refcount table clusters
        (56, &u32::MAX.to_be_bytes()),         // refcount table clusters
        (72, &(1u64 << 3).to_be_bytes()),      // compression bit without a type
        (96, &7u32.to_be_bytes()),             // refcount order
        (100, &103u32.to_be_bytes()),          // header length
        (100, &0u32.to_be_bytes()),            // header length
        (100, &u32::MAX.to_be_bytes()),        // header length
        (104, &[1]),                           // compression type without the bit
        (104, &[9]),                           // compression type
        (116, &u32::MAX.to_be_bytes()),        // extension length
        (4, &4u32.to_be_bytes()),              // version
        (32, &3u32.to_be_bytes()),             // encryption
        (8, &u64::MAX.to_be_bytes()),          // backing offset
        (16, &u32::MAX.to_be_bytes()),         // backing length
    ] {
        assert!(
            inspect_bytes(&patched(offset, bytes)).is_err(),
            "{offset}: {bytes:?}"
        );
    }
    assert!(inspect_bytes(&sound()).is_ok());
}
