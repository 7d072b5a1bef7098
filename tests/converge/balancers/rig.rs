//! What the tests of balancers look at and answer with.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::super::Place;

/// Everything there is of the balancers of a place: files, processes, records, listening sockets.
pub(super) fn traces(place: &Place, port: u16) -> Vec<String> {
    let mut found: Vec<String> = below(&home(place))
        .into_iter()
        .chain(below(&place.store().join("balancers")))
        .map(|path| path.display().to_string())
        .collect();
    found.extend(
        processes(&home(place))
            .iter()
            .map(|pid| format!("process {pid}")),
    );
    if TcpStream::connect(("127.0.0.1", port)).is_ok() {
        found.push(format!("port {port}"));
    }
    found
}

pub(super) fn home(place: &Place) -> PathBuf {
    let store = place.store();
    let name = store.file_name().unwrap().to_string_lossy().into_owned();
    store.with_file_name(format!("{name}-balancers"))
}

pub(super) fn below(path: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The processes that work in a directory.
pub(super) fn processes(home: &std::path::Path) -> Vec<u32> {
    let pids = below(std::path::Path::new("/proc")).into_iter();
    let pids = pids.filter_map(|path| path.file_name()?.to_str()?.parse().ok());
    let within = |pid: &u32| {
        let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(home))
    };
    pids.filter(within).collect()
}

/// Ends what a test that failed left running.
pub(super) struct Ends(pub(super) PathBuf);

impl Drop for Ends {
    fn drop(&mut self) {
        kill(&self.0);
    }
}

pub(super) fn kill(home: &std::path::Path) {
    for pid in processes(home) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Makes an instance and turns it off: its address is reserved all the same.
pub(super) fn instance(place: &Place, name: &str, labels: &str) -> String {
    let create = [
        "instances",
        "create",
        name,
        "--image",
        "tiny",
        "--type",
        "basic-1",
        "--no-wait",
        "--label",
        labels,
    ];
    place.run(&create).ok();
    place
        .run(&["instances", "stop", name, "--force", "--timeout", "0s"])
        .ok();
    place.run(&["instances", "ip", name]).ok().text().to_owned()
}

/// An address of the host, as long as this lives.
pub(super) struct Answering(String);

impl Drop for Answering {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["addr", "del", &self.0, "dev", "lo"])
            .status();
    }
}

/// How long the answer to `/slow` takes.
const SLOW: Duration = Duration::from_secs(3);

/// Answers every request at `address` with `name`; for `/slow` it takes a while.
pub(super) fn answer(address: &str, name: &str) -> Answering {
    let own = format!("{address}/32");
    let added = Command::new("ip")
        .args(["addr", "add", &own, "dev", "lo"])
        .status();
    assert!(added.unwrap().success());
    let at: SocketAddr = format!("{address}:8080").parse().unwrap();
    let (listener, name) = (TcpListener::bind(at).unwrap(), name.to_owned());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, name) = (client.unwrap(), name.clone());
            thread::spawn(move || {
                let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
                let mut request = [0; 4096];
                let _ = client.read(&mut request);
                if request.starts_with(b"GET /slow ") {
                    thread::sleep(SLOW);
                }
                let length = name.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = client.write_all(format!("{head}{name}").as_bytes());
            });
        }
    });
    Answering(own)
}

/// Asks the balancer, and returns the status and the body.
pub(super) fn ask(port: u16) -> (String, String) {
    ask_for(port, "/")
}

pub(super) fn ask_for(port: u16, path: &str) -> (String, String) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
    (status, body)
}

/// Who answers ten requests.
pub(super) fn answers(port: u16) -> std::collections::BTreeSet<String> {
    (0..10).map(|_| ask(port).1).collect()
}

pub(super) fn status(place: &Place, name: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    let get = ["get", "lb", name, "-o", &path];
    place.run(&get).ok().text().to_owned()
}

pub(super) fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(20));
    }
}
