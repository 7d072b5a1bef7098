use std::path::Path;

use super::tests::{record, store};
use super::*;

/// One round of what a create and a delete do to the store, as `who`.
fn churn(path: &Path, who: usize, rounds: usize) {
    let store = Store::open(path, Access::Write).unwrap();
    let network = Uid::from_bytes([6; 16]);
    let wait = std::time::Duration::from_secs(120);
    for n in 0..rounds {
        let mut mine = record(&format!("w{who}-{n}"));
        let lock = store.lock(wait).unwrap();
        let ip = store
            .update_slots(&lock, network, "sto", |table| {
                let used: Vec<_> = table.used().map(|(ip, _)| ip.octets()[3]).collect();
                let free = (2..=254).find(|n| !used.contains(n)).unwrap();
                table.give([10, 206, 0, free].into(), mine.uid);
                Ok::<_, StoreError>([10, 206, 0, free].into())
            })
            .unwrap();
        mine.nics[0].ip = Some(ip);
        store
            .put(&Intent::new(
                IntentOp::Create,
                Kind::Instance,
                mine.name.clone(),
                mine.uid,
            ))
            .unwrap();
        drop(lock);
        store.put(&mine).unwrap();
        store
            .update_index_locked(&store.lock(wait).unwrap(), |ix| {
                ix.unmanaged.insert(mine.uid);
            })
            .unwrap();
        store.remove::<Intent>(&mine.uid).unwrap();
        if n % 2 == 0 {
            let lock = store.lock(wait).unwrap();
            let given_back = store.update_slots(&lock, network, "sto", |t| {
                Ok::<_, StoreError>(t.take_back(mine.uid))
            });
            assert!(given_back.unwrap());
            store.remove::<InstanceRecord>(&mine.uid).unwrap();
            store
                .update_index_locked(&lock, |ix| {
                    ix.unmanaged.remove(&mine.uid);
                })
                .unwrap();
        }
        store.all::<InstanceRecord>().unwrap();
    }
}

/// What must hold after any number of writers: everything parses, and all agree.
fn check_invariants(path: &Path, expected: usize) {
    let store = Store::open(path, Access::Write).unwrap();
    let records = store.all::<InstanceRecord>().unwrap();
    assert_eq!(records.len(), expected);
    assert_eq!(store.all::<Intent>().unwrap(), []);
    let table = store
        .get::<SlotTable>(&Uid::from_bytes([6; 16]))
        .unwrap()
        .unwrap();
    let mut used: Vec<_> = table.used().collect();
    let mut had: Vec<_> = records
        .iter()
        .map(|r| (r.nics[0].ip.unwrap(), r.uid))
        .collect();
    used.sort();
    had.sort();
    assert_eq!(
        used, had,
        "every address has one instance and the other way round"
    );
    let index = store.load_index();
    assert_eq!(
        index.unmanaged,
        records.iter().map(|r| r.uid).collect(),
        "no update is lost"
    );
    assert!(
        std::fs::read_dir(path.join("tmp"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn twenty_writers_in_threads_agree() {
    let (_tmp, store) = store();
    std::thread::scope(|scope| {
        for who in 0..20 {
            let path = store.path();
            scope.spawn(move || churn(path, who, 4));
        }
    });
    check_invariants(store.path(), 40);
}

const CHURN_IN: &str = "KVMCTL_TEST_CHURN_IN";

/// The child of the next test; only there it has a place to work in.
#[test]
fn churn_as_a_process() {
    let Ok(at) = std::env::var(CHURN_IN) else {
        return;
    };
    churn(Path::new(&at), std::process::id() as usize, 4);
}

#[expect(clippy::disallowed_types, reason = "the test starts itself")]
fn myself(path: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::concurrency_tests::churn_as_a_process",
            "-q",
        ])
        .env(CHURN_IN, path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn twenty_writers_in_processes_agree() {
    let (_tmp, store) = store();
    let children: Vec<_> = (0..20).map(|_| myself(store.path())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    check_invariants(store.path(), 40);
}

#[test]
fn writers_that_are_killed_leave_a_store_that_works() {
    let (_tmp, store) = store();
    // Each lives a little longer; on a busy machine the first ones do not come to write.
    for round in 0..60 {
        let mut child = myself(store.path());
        std::thread::sleep(std::time::Duration::from_millis(4 + 3 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(store.path(), Access::Write).unwrap();
        store.all::<InstanceRecord>().unwrap();
        store.all::<Intent>().unwrap();
        store.all::<SlotTable>().unwrap();
        drop(
            store
                .lock(std::time::Duration::ZERO)
                .expect("the lock died with its holder"),
        );
        let left = std::fs::read_dir(store.path().join("tmp"));
        assert_eq!(left.map_or(0, Iterator::count), 0, "swept");
        if round >= 12 && store.all::<InstanceRecord>().unwrap().len() > 2 {
            return;
        }
    }
    panic!("no child came to write");
}
