//! Servers and clients in other network namespaces: this very program, started there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::net::quiet;

const ROLE: &str = "KVMCTL_TEST_ROLE";
const PATIENCE: Duration = Duration::from_millis(1000);

/// What a client of a port got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name of who answered.
    From(String),
    /// Nobody.
    None,
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) udp: bool,
    pub(super) to: SocketAddr,
}

/// Not a test: what this program is when it was started as a server or as a client.
#[test]
#[ignore = "started by other tests in another namespace"]
fn role() {
    let role = std::env::var(ROLE).unwrap_or_default();
    let words: Vec<&str> = role.split(' ').collect();
    match words.as_slice() {
        ["serve", name, sockets @ ..] => serve(name, sockets),
        ["ask", targets @ ..] => ask_all(targets),
        _ => {}
    }
}

fn serve(name: &str, sockets: &[&str]) {
    let mut threads = Vec::new();
    for socket in sockets {
        let (kind, address) = socket.split_once('/').unwrap();
        let (name, address) = (name.to_owned(), address.to_owned());
        threads.push(if kind == "udp" {
            let socket = UdpSocket::bind(&address).unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(name.as_bytes(), from);
                }
            })
        } else {
            let listener = TcpListener::bind(&address).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let name = name.clone();
                    // Each on its own, and open until the client has enough.
                    thread::spawn(move || talk(stream, &name));
                }
            })
        });
    }
    println!("READY");
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Answers every byte with the name.
fn talk(mut stream: TcpStream, name: &str) {
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|n| n == 1) {
        if stream.write_all(name.as_bytes()).is_err() {
            return;
        }
    }
}

fn ask_all(targets: &[&str]) {
    let threads: Vec<_> = targets
        .iter()
        .map(|target| {
            let (kind, address) = target.split_once('/').unwrap();
            let to: SocketAddr = address.parse().unwrap();
            let udp = kind == "udp";
            thread::spawn(move || if udp { ask_udp(to) } else { ask_tcp(to) })
        })
        .collect();
    for thread in threads {
        let answer = thread.join().unwrap();
        println!("GOT {}", answer.as_deref().unwrap_or("-"));
    }
}

fn ask_tcp(to: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"?").ok()?;
    let mut buffer = [0; 64];
    let length = stream.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned()).filter(|s| !s.is_empty())
}

fn ask_udp(to: SocketAddr) -> Option<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.send(b"?").ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn this_program(namespace: Option<&str>, role: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match namespace {
        Some(name) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .args([
            "forwards::probe::role",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    command
}

/// A server; it ends with this value.
pub(super) struct Server(Child);

impl Server {
    /// Starts one that answers with `name` on sockets such as `udp/0.0.0.0:53`.
    pub(super) fn start(namespace: Option<&str>, name: &str, sockets: &[&str]) -> Self {
        let role = format!("serve {name} {}", sockets.join(" "));
        let mut child = this_program(namespace, &role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen = String::new();
        let mut out = child.stdout.take().unwrap();
        while !seen.contains("READY") {
            let mut byte = [0];
            assert_eq!(
                out.read(&mut byte).unwrap(),
                1,
                "{name} does not serve: {seen}"
            );
            seen.push(char::from(byte[0]));
        }
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `ip netns exec` becomes the server, so this is the server itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks one port by TCP.
pub(super) fn ask_one(namespace: Option<&str>, to: &str) -> Answer {
    let to = to.parse().unwrap();
    ask(namespace, &[Target { udp: false, to }]).remove(0)
}

impl Answer {
    /// Makes the answer of somebody.
    pub(super) fn from(name: &str) -> Self {
        Self::From(name.to_owned())
    }
}

/// Asks all targets at once from a namespace.
pub(super) fn ask(namespace: Option<&str>, targets: &[Target]) -> Vec<Answer> {
    let words: Vec<String> = targets
        .iter()
        .map(|t| format!("{}/{}", if t.udp { "udp" } else { "tcp" }, t.to))
        .collect();
    let text = quiet(this_program(namespace, &format!("ask {}", words.join(" "))));
    let answers: Vec<Answer> = text
        .lines()
        .filter_map(|line| line.split_once("GOT ").map(|(_, name)| name))
        .map(|name| match name {
            "-" => Answer::None,
            name => Answer::From(name.to_owned()),
        })
        .collect();
    assert_eq!(answers.len(), targets.len(), "{text}");
    answers
}
