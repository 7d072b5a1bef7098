use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::api::{EnvVar, InstanceSpec, Secret, SecretValue, Timestamp};
use crate::error::{Error, Kind as ErrorKind};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn record(n: &str) -> InstanceRecord {
    InstanceRecord {
        uid: Uid::random(),
        name: name(n),
        labels: Default::default(),
        annotations: Default::default(),
        generation: 1,
        created: Timestamp::now(),
        spec: InstanceSpec {
            user_data: Some("#cloud-config\r\n# \u{1b}[31m no\n'\"$\u{2028}".to_owned()),
            env: vec![EnvVar {
                name: "GREETING".parse().unwrap(),
                value: Some("no\n".to_owned()),
                value_from: None,
            }],
            ..InstanceSpec::default()
        },
        last_applied: Some(LastApplied::default()),
        image_sha256: None,
        files: vec![FileRecord {
            pool: "p".to_owned(),
            volume: "v".to_owned(),
        }],
        nics: vec![NicRecord {
            network: "default".to_owned(),
            network_uid: Some(Uid::random()),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            ip: Some([10, 206, 0, 2].into()),
            slot: true,
        }],
        ports: vec!["8080:80".parse().unwrap()],
        ssh_host_key: None,
        ssh_user: None,
        seed: SeedState::Full,
        adopted: false,
        mask_key: Some(crate::api::MaskKey::random()),
        deletion_timestamp: None,
    }
}

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(tmp.path().join("deep/store"), Access::Write).unwrap();
    (tmp, store)
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_record_comes_back_byte_equal_and_goes() {
    let (_tmp, store) = store();
    let web = record("web");
    store.put(&web).unwrap();
    assert_eq!(store.get::<InstanceRecord>(&web.uid).unwrap().unwrap(), web);
    assert_eq!(
        store.instances_named(&name("web")).unwrap(),
        std::slice::from_ref(&web)
    );
    assert_eq!(
        store.all::<InstanceRecord>().unwrap(),
        std::slice::from_ref(&web)
    );
    assert!(store.remove::<InstanceRecord>(&web.uid).unwrap());
    assert!(!store.remove::<InstanceRecord>(&web.uid).unwrap());
    assert_eq!(store.instances_named(&name("web")).unwrap(), []);
}

#[test]
fn looking_makes_nothing_and_an_absent_store_is_empty() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("none");
    let store = Store::open(&path, Access::Read).unwrap();
    assert!(!store.exists());
    assert_eq!(store.all::<InstanceRecord>().unwrap(), []);
    assert_eq!(store.load_index(), Index::default());
    assert!(store.events(|_| true).unwrap().is_empty());
    assert!(matches!(
        store.lock(STORE_WAIT),
        Err(StoreError::Missing(_))
    ));
    assert!(!path.exists());
    chmod(tmp.path(), 0o700);
    let existing = Store::open(tmp.path(), Access::Read).unwrap();
    assert!(matches!(
        existing.put(&record("web")),
        Err(StoreError::ReadOnly { .. })
    ));
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
}

#[test]
fn a_store_that_others_may_change_is_refused_by_readers_and_writers() {
    let (_tmp, store) = store();
    for mode in [0o777, 0o703, 0o770, 0o720] {
        chmod(store.path(), mode);
        for access in [Access::Read, Access::Write] {
            let error = Error::from(Store::open(store.path(), access).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Usage, "{mode:o}");
            assert_eq!(
                error.hints()[0],
                format!("chmod go-w {}", store.path().display())
            );
        }
    }
    chmod(store.path(), 0o755);
    Store::open(store.path(), Access::Write).unwrap();
}

#[test]
fn a_link_a_file_or_a_strangers_directory_is_no_store() {
    let (tmp, store) = store();
    let link = tmp.path().join("link");
    symlink(store.path(), &link).unwrap();
    assert!(matches!(
        Store::open(&link, Access::Write),
        Err(StoreError::Symlink(_))
    ));
    let file = tmp.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(
        Store::open(&file, Access::Read),
        Err(StoreError::WrongType { .. })
    ));
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(store.path(), Some(65534), None).unwrap();
        let error = Store::open(store.path(), Access::Read).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Foreign {
                    owner: 65534,
                    caller: 0,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn what_does_not_parse_is_named_and_left_alone() {
    let (_tmp, store) = store();
    let (good, bad) = (record("good"), record("bad"));
    store.put(&good).unwrap();
    store.put(&bad).unwrap();
    let path = store.path().join(format!("instances/{}.yaml", bad.uid));
    let whole = std::fs::read_to_string(&path).unwrap();
    let unknown = whole.clone() + "surprise: 1\n";
    let other = std::fs::read_to_string(store.path().join(format!("instances/{}.yaml", good.uid)));
    for text in [
        "{",
        "",
        "uid: [",
        &whole[..whole.len() / 2],
        &unknown,
        &other.unwrap(),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = store.get::<InstanceRecord>(&bad.uid).unwrap_err();
        assert!(
            error.to_string().contains(&*path.to_string_lossy()),
            "{error}"
        );
        let refused = store.put(&bad).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            text,
            "left as it was"
        );
        assert!(store.all::<InstanceRecord>().is_err());
        let (records, errors) = store.scan::<InstanceRecord>().unwrap();
        assert_eq!(
            (records.len(), errors.len()),
            (1, 1),
            "the good one is still seen"
        );
    }
    let error = Error::from(store.get::<InstanceRecord>(&bad.uid).unwrap_err());
    assert!(
        error.hints()[0].contains("kvmctl store rebuild"),
        "{error:?}"
    );
}

#[test]
fn a_dead_writers_half_file_is_no_record_and_is_swept() {
    let (_tmp, store) = store();
    store.put(&record("web")).unwrap();
    std::fs::write(store.path().join("tmp/.tmp-1"), "half").unwrap();
    assert_eq!(store.all::<InstanceRecord>().unwrap().len(), 1);
    Store::open(store.path(), Access::Read).unwrap();
    assert!(
        store.path().join("tmp/.tmp-1").exists(),
        "readers change nothing"
    );
    Store::open(store.path(), Access::Write).unwrap();
    assert_eq!(
        std::fs::read_dir(store.path().join("tmp")).unwrap().count(),
        0
    );
}

#[test]
fn the_values_of_a_secret_stand_in_its_file_alone_and_in_no_debug_print() {
    let (_tmp, store) = store();
    let secret = Secret {
        api_version: crate::api::API_VERSION.to_owned(),
        kind: "Secret".to_owned(),
        metadata: crate::api::ObjectMeta::named(name("db")),
        data: [("PASSWORD".parse().unwrap(), SecretValue::new("canary-7"))].into(),
    };
    let record = SecretRecord::new(secret).unwrap();
    store.put(&record).unwrap();
    let back = store.get::<SecretRecord>(&name("db")).unwrap().unwrap();
    let value = back.value(&"PASSWORD".parse().unwrap()).unwrap();
    assert_eq!(value.expose(), "canary-7");
    assert!(!format!("{back:?}").contains("canary-7"));
    let path = store.path().join("secrets/db.yaml");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for damaged in [
        "name: db\nmetadata: {name: db}\ndata: {PASSWORD: [canary-7]}\n",
        "name: db\nmetadata: {name: db}\ndata: canary-7\n",
        "name: db\ncanary-7: PASSWORD\n",
        "name: canary-7!\n",
        "name: db\nmetadata: {name: db}\ndata: {PASSWORD: \"canary-7\n",
    ] {
        std::fs::write(&path, damaged).unwrap();
        let error = store.get::<SecretRecord>(&name("db")).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(error.to_string().contains(" line "), "{error}");
    }
}

#[test]
fn types_are_the_built_in_ones_and_the_users() {
    let (_tmp, store) = store();
    let mut own = crate::api::built_in_types().remove(0);
    let clash = TypeRecord::new(own.clone()).unwrap_err();
    assert_eq!(Error::from(clash).kind(), ErrorKind::Conflict);
    own.metadata.name = Some(name("mine"));
    store.put(&TypeRecord::new(own).unwrap()).unwrap();
    let types = store.types().unwrap();
    assert_eq!(types.len(), crate::api::BUILT_IN_TYPES.len() + 1);
    assert_eq!(types.last().unwrap().metadata.name, Some(name("mine")));
}

#[test]
fn a_verdict_on_kvm_is_of_one_host_and_one_cpu() {
    let (_tmp, store) = store();
    let host = Uid::random();
    let verdict = |cpu: &str, works| KvmVerdict {
        cpu: cpu.to_owned(),
        works,
        reason: "the kernel printed nothing for 30 s".to_owned(),
        when: Timestamp::now(),
        qemu_version: "10.0.2".to_owned(),
    };
    store
        .put_kvm_verdict(host, verdict("Skylake", false))
        .unwrap();
    store.put_kvm_verdict(host, verdict("EPYC", false)).unwrap();
    store.put_kvm_verdict(host, verdict("EPYC", true)).unwrap();
    assert!(!store.kvm_verdict(host, "Skylake").unwrap().unwrap().works);
    assert!(store.kvm_verdict(host, "EPYC").unwrap().unwrap().works);
    assert_eq!(store.kvm_verdict(host, "Zen").unwrap(), None);
    assert_eq!(store.kvm_verdict(Uid::random(), "EPYC").unwrap(), None);
    store.put_mute(host, "f00d").unwrap();
    assert!(store.is_mute(host, "f00d").unwrap() && !store.is_mute(host, "cafe").unwrap());
    assert!(store.kvm_verdict(host, "EPYC").unwrap().unwrap().works);
}

#[test]
fn root_shares_a_store_with_a_group_and_nobody_else() {
    let (tmp, store) = store();
    if !rustix::process::geteuid().is_root() {
        assert!(make_shared(store.path(), Some(0)).is_err());
        return;
    }
    let web = record("web");
    store.put(&web).unwrap();
    make_shared(store.path(), Some(106)).unwrap();
    let shared = Store::open(store.path(), Access::Write).unwrap();
    shared.put(&record("db")).unwrap();
    assert_eq!(shared.get::<InstanceRecord>(&web.uid).unwrap(), Some(web));
    for (path, is_dir) in walk(store.path()) {
        let meta = std::fs::metadata(&path).unwrap();
        let expected = if is_dir { 0o2770 } else { 0o660 };
        assert_eq!(
            meta.permissions().mode() & 0o7777,
            expected,
            "{}",
            path.display()
        );
        assert_eq!(
            std::os::unix::fs::MetadataExt::gid(&meta),
            106,
            "{}",
            path.display()
        );
    }
    let alone = tmp.path().join("alone");
    make_shared(&alone, None).unwrap();
    assert_eq!(
        std::fs::metadata(&alone).unwrap().permissions().mode() & 0o7777,
        0o700
    );
}

fn walk(path: &Path) -> Vec<(PathBuf, bool)> {
    let mut found = vec![(path.to_owned(), true)];
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push((path, false)),
        }
    }
    found
}
