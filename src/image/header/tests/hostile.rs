use proptest::prelude::*;

use super::*;
use crate::host::{ImagePath, QemuImg};

/// Refusing what QEMU would take is a nuisance, taking what names another file a hole. So whatever
/// single field is spoilt, an accepted image is one that `qemu-img info` reads without a backing or
/// data file.
#[test]
fn what_we_take_names_no_other_file_for_qemu_either() {
    let bench = Bench::new();
    let qemu = QemuImg::find().unwrap();
    let image = sound();
    let mut taken = 0;
    for offset in (0..128).step_by(4) {
        for value in [0u32, 1, 3, 0x0001_0000, 0x4441_5441, u32::MAX] {
            let mut spoilt = image.clone();
            spoilt[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
            if inspect_bytes(&spoilt).is_err_and(|e| !matches!(e, ImageError::Unrecognised { .. }))
            {
                continue;
            }
            fs::write(bench.path("a.qcow2"), &spoilt).unwrap();
            let path = ImagePath::new(bench.path("a.qcow2")).unwrap();
            if let Ok(info) = qemu.info(&path, DiskFormat::Qcow2) {
                assert_eq!(info.backing_filename, None, "{offset} {value:x}");
                taken += 1;
            }
        }
    }
    assert!(taken > 10, "{taken}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = inspect_bytes(&bytes);
    }

    #[test]
    fn no_header_makes_it_panic(
        version in 2u32..4,
        cluster_bits in 0u32..70,
        rest in proptest::collection::vec(any::<u8>(), 600),
    ) {
        let mut bytes = b"QFI\xfb".to_vec();
        bytes.extend(version.to_be_bytes());
        // Mostly zeros, so that the deeper checks are reached.
        bytes.extend(rest.iter().map(|b| if *b < 200 { 0 } else { *b }));
        bytes[20..24].copy_from_slice(&cluster_bits.to_be_bytes());
        let _ = inspect_bytes(&bytes);
    }
}
