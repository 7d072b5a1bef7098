use std::collections::BTreeSet;
use std::io::Write;

use super::*;

fn with(text: &str) -> Result<Catalogue, CatalogueError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Catalogue::with_file(file.path())
}

fn problems(text: &str) -> Vec<String> {
    match with(text).unwrap_err() {
        CatalogueError::Invalid { problems, .. } => {
            problems.iter().map(ToString::to_string).collect()
        }
        other => panic!("{other}"),
    }
}

const MINE: &str = "
images:
  - alias: debian-12
    aliases: [mine, ubuntu]
    os: debian
    version: '12'
    defaultUser: admin
    sources:
      x86_64:
        url: https://mirror.example.org/debian.qcow2
        checksum: {sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}
";

#[test]
fn the_built_in_catalogue_is_sound() {
    let catalogue = Catalogue::built_in();
    for name in [
        "ubuntu-22.04",
        "ubuntu-24.04",
        "ubuntu-26.04",
        "debian-12",
        "debian-13",
        "fedora-43",
        "fedora-44",
        "almalinux-9",
        "almalinux-10",
        "rocky-9",
        "rocky-10",
        "opensuse-leap-15.6",
        "opensuse-leap-16.0",
        "arch",
        "alpine-3.22",
        "alpine-3.23",
        "freebsd-14.5",
        "freebsd-15.1",
        "ubuntu",
        "noble",
        "debian",
        "trixie",
        "fedora",
        "freebsd",
    ] {
        let choice = catalogue.choose(name, Architecture::X86_64).unwrap();
        assert!(!choice.entry.default_user.is_empty(), "{name}");
    }
    for entry in catalogue.entries() {
        for (architecture, source) in &entry.sources {
            assert!(source.url.starts_with("https://"), "{}", source.url);
            // A slip of copying would give one architecture's file to the other.
            let other = match architecture {
                Architecture::X86_64 => ["aarch64", "arm64"],
                _ => ["x86_64", "amd64"],
            };
            assert!(
                !other.iter().any(|o| source.url.contains(o)),
                "{}",
                source.url
            );
            let sum = serde_json::to_string(&source.checksum).unwrap();
            assert!(!other.iter().any(|o| sum.contains(o)), "{sum}");
            if entry.os != "arch" {
                assert!(source.url.contains(&entry.version), "{}", source.url);
            }
            let packed = Packing::of_name(&source.url);
            assert_eq!(packed, entry.compressed, "{}", source.url);
        }
    }
    let urls: Vec<&str> = catalogue
        .entries()
        .iter()
        .flat_map(|e| e.sources.values().map(|s| s.url.as_str()))
        .collect();
    assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), urls.len());
}

#[test]
fn an_unknown_name_gets_the_nearest_and_all_candidates() {
    let catalogue = Catalogue::built_in();
    let error = catalogue
        .choose("debain-12", Architecture::X86_64)
        .unwrap_err();
    let CatalogueError::Unknown {
        suggestion,
        candidates,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(suggestion.as_deref(), Some("debian-12"));
    assert!(candidates.iter().any(|c| c == "rocky-10"));
    let far = catalogue.entry("zzz").unwrap_err();
    assert!(matches!(
        far,
        CatalogueError::Unknown {
            suggestion: None,
            ..
        }
    ));
}

#[test]
fn an_architecture_that_is_not_published_is_said() {
    let catalogue = Catalogue::built_in();
    let error = catalogue.choose("arch", Architecture::Aarch64).unwrap_err();
    assert_eq!(error.to_string(), "image arch is not published for aarch64");
}

#[test]
fn arm_boots_from_uefi_only() {
    let catalogue = Catalogue::built_in();
    let on = |architecture| {
        catalogue
            .choose("alpine-3.22", architecture)
            .unwrap()
            .firmware()
    };
    assert_eq!(on(Architecture::X86_64), Firmware::Bios);
    assert_eq!(on(Architecture::Aarch64), Firmware::Uefi);
}

#[test]
fn the_users_entry_replaces_and_takes_names() {
    let catalogue = with(MINE).unwrap();
    let mine = catalogue.choose("debian-12", Architecture::X86_64).unwrap();
    assert_eq!(mine.source.url, "https://mirror.example.org/debian.qcow2");
    assert_eq!(catalogue.entry("mine").unwrap().alias.as_str(), "debian-12");
    assert_eq!(
        catalogue.entry("ubuntu").unwrap().alias.as_str(),
        "debian-12"
    );
    assert_eq!(catalogue.entry("ubuntu-26.04").unwrap().os, "ubuntu");
    let all = catalogue
        .entries()
        .iter()
        .filter(|e| e.alias.as_str() == "debian-12");
    assert_eq!(all.count(), 1);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = MINE
        .replace("https://mirror", "ftp://mirror")
        .replace("admin", "Admin!")
        .replace("e3b0c4", "zz")
        .replace("[mine, ubuntu]", "[mine, debian-12]");
    let said = problems(&text);
    assert_eq!(said.len(), 4, "{said:#?}");
    assert!(
        said.iter()
            .all(|p| p.starts_with("images[0] (debian-12): ")),
        "{said:#?}"
    );
    for (index, word) in ["the name debian-12", "Admin!", "https://", "hex digits"]
        .into_iter()
        .enumerate()
    {
        assert!(said[index].contains(word), "{said:#?}");
    }
}

#[test]
fn mistakes_of_type_are_told_for_every_entry_with_a_position() {
    let text = format!(
        "{MINE}  - alias: Bad Name\n    os: x\n{}",
        MINE.replace("\nimages:\n", "")
            .replace("sha256", "sha1")
            .replace("debian-12", "third"),
    );
    let said = problems(&text);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].starts_with("line "), "{said:#?}");
    assert!(said[0].contains("images[1] (Bad Name): "), "{said:#?}");
    assert!(
        said[1].contains("sources.x86_64.checksum must be"),
        "{said:#?}"
    );
}

#[test]
fn rubbish_is_one_problem_and_never_a_panic() {
    for text in [
        "",
        "[]",
        "images: {}",
        "a: [",
        "\0",
        "images: [1, 2]",
        "- a\n- b",
    ] {
        assert!(!problems(text).is_empty(), "{text:?}");
    }
    let unknown = MINE.replace("os: debian", "os: debian\n    osx: 1");
    assert!(problems(&unknown)[0].contains("osx"));
}

#[test]
fn a_huge_or_explosive_file_is_refused_quickly() {
    let started = std::time::Instant::now();
    assert_eq!(
        problems(&" ".repeat(2 << 20)),
        ["the file is larger than 1 MiB"]
    );
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let last = format!("*a{}", level - 1);
        let nine = [last.as_str(); 9].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{nine}]\n"));
    }
    bomb.push_str("images: *a8\n");
    assert!(!problems(&bomb).is_empty());
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    let missing = Catalogue::with_file(Path::new("/nonexistent/images.yaml")).unwrap_err();
    assert!(matches!(missing, CatalogueError::Unreadable { .. }));
}

#[test]
fn the_longest_mirror_prefix_wins() {
    let table = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        Mirrors::new(owned.collect())
    };
    let mirrors = table(&[
        ("https://a.org/", "https://m.lan/a/"),
        ("https://a.org/deep/", "http://n.lan/"),
    ])
    .unwrap();
    assert_eq!(mirrors.rewrite("https://a.org/x"), "https://m.lan/a/x");
    assert_eq!(mirrors.rewrite("https://a.org/deep/x"), "http://n.lan/x");
    assert_eq!(
        mirrors.rewrite("https://a.organic/x"),
        "https://a.organic/x"
    );
    let wrong = table(&[("https://a.org", "file:///x/"), ("https://b.org/", "b")]).unwrap_err();
    assert_eq!(wrong.len(), 3);
}
