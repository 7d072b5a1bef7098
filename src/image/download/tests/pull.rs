use super::*;
use crate::host::Tool;
use crate::image::{Architecture, Catalogue};

fn catalogue(server: &Server, form: &str, sums: &str, packed: bool) -> Catalogue {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let (suffix, line) = if packed {
        (".xz", "compressed: xz")
    } else {
        ("", "notes: none")
    };
    let text = format!(
        "images:\n- alias: mine\n  os: x\n  version: '1'\n  defaultUser: me\n  {line}\n  sources:\n    x86_64:\n      url: {}{suffix}\n      checksum: {{url: \"{}\", algorithm: sha256, form: {form}}}\n",
        server.url("/f.img"),
        server.url(sums),
    );
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    Catalogue::with_file(file.path()).unwrap()
}

fn pull(bench: &Bench, catalogue: &Catalogue, mirrors: &Mirrors) -> Result<Pulled, DownloadError> {
    let stop = AtomicBool::new(false);
    let mut watch = Watch {
        stop: &stop,
        progress: &mut |_| {},
    };
    let choice = catalogue.choose("mine", Architecture::X86_64).unwrap();
    Fetcher::new(bench.options.clone()).pull(&choice, mirrors, bench.dir.path(), &mut watch)
}

#[test]
fn a_pull_verifies_against_the_publishers_list() {
    let bench = Bench::new();
    let list = format!(
        "{}  other.img\n{} *f.img\n",
        "0".repeat(64),
        bench.sum.hex()
    );
    bench.server.put("/SUMS", list.as_bytes(), None);
    let listed = catalogue(&bench.server, "list", "/SUMS", false);
    let pulled = pull(&bench, &listed, &Mirrors::default()).unwrap();
    assert!(fs::read(&pulled.path).unwrap() == bench.bytes);
    assert_eq!(pulled.verified, bench.sum);

    bench.server.put("/SUMS", b"nothing here", None);
    let error = pull(&bench, &listed, &Mirrors::default()).unwrap_err();
    assert!(matches!(error, DownloadError::NoSum { .. }), "{error}");
    bench.server.put("/ONE", "ab".repeat(32).as_bytes(), None);
    let single = catalogue(&bench.server, "single", "/ONE", false);
    let error = pull(&bench, &single, &Mirrors::default()).unwrap_err();
    assert!(matches!(error, DownloadError::WrongSum { .. }), "{error}");
}

#[test]
fn a_packed_image_is_verified_packed_and_left_unpacked() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), &bench.bytes).unwrap();
    let xz = Tool::find(&["xz"], "xz-utils").unwrap();
    xz.run(&["-0", "f"], b"", Some(dir.path())).unwrap();
    let packed = fs::read(dir.path().join("f.xz")).unwrap();
    bench.server.put("/f.img.xz", &packed, None);
    bench
        .server
        .put("/ONE", sum_of(&packed).hex().as_bytes(), None);
    let catalogue = catalogue(&bench.server, "single", "/ONE", true);
    let pulled = pull(&bench, &catalogue, &Mirrors::default()).unwrap();
    assert!(fs::read(&pulled.path).unwrap() == bench.bytes);
    assert_eq!(pulled.sha256, None);
    assert_eq!(bench.names().len(), 1, "{:?}", bench.names());
}

#[test]
fn a_mirror_serves_image_and_sums() {
    let bench = Bench::new();
    let mirror = Server::start();
    mirror.put("/m/f.img", &bench.bytes, None);
    mirror.put("/m/ONE", bench.sum.hex().as_bytes(), None);
    let table = [(bench.server.url("/"), mirror.url("/m/"))];
    let mirrors = Mirrors::new(table.into_iter().collect()).unwrap();
    let catalogue = catalogue(&bench.server, "single", "/ONE", false);
    let pulled = pull(&bench, &catalogue, &mirrors).unwrap();
    assert_eq!(pulled.url, mirror.url("/m/f.img"));
    assert!(bench.server.seen().is_empty());
    let paths: Vec<String> = mirror.seen().into_iter().map(|s| s.path).collect();
    assert_eq!(paths, ["/m/ONE", "/m/f.img"]);
}
