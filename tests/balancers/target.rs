//! Targets in network namespaces: this very program, started there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

const ROLE: &str = "KVMCTL_TEST_TARGET";

/// Not a test: what this program is when it was started as a target.
#[test]
#[ignore = "started by other tests in another namespace"]
fn role() {
    if let Ok(name) = std::env::var(ROLE) {
        serve(&name);
    }
}

/// HTTP at 80, TCP at 81, UDP at 82.
fn serve(name: &str) {
    let http = TcpListener::bind("0.0.0.0:80").unwrap();
    let tcp = TcpListener::bind("0.0.0.0:81").unwrap();
    let udp = UdpSocket::bind("0.0.0.0:82").unwrap();
    println!("READY");
    let (for_tcp, for_udp) = (name.to_owned(), name.to_owned());
    thread::spawn(move || accept(&tcp, &for_tcp, echo));
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(for_udp.as_bytes(), from);
        }
    });
    accept(&http, name, requests);
}

fn accept(listener: &TcpListener, name: &str, talk: fn(TcpStream, &str)) {
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        let _ = stream.set_nodelay(true);
        let builder = thread::Builder::new().stack_size(128 << 10);
        builder.spawn(move || talk(stream, &name)).unwrap();
    }
}

/// Answers each byte with the name, after what came before the first of them when that is a header of
/// the PROXY protocol.
fn echo(mut stream: TcpStream, name: &str) {
    let mut buffer = [0; 256];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let answer = if text.starts_with("PROXY ") {
            text
        } else {
            name.to_owned()
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn requests(stream: TcpStream, name: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().unwrap().trim().parse().unwrap()
        });
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        if lower.contains("upgrade: websocket") {
            let _ = stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            );
            return echo(stream, name);
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer = match path {
            "/head" => head.clone(),
            "/length" => body.len().to_string(),
            "/slow" => {
                thread::sleep(Duration::from_secs(3));
                name.to_owned()
            }
            _ => name.to_owned(),
        };
        let status = if path == "/ill" { "500 Ill" } else { "200 OK" };
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// A target; it ends with this value.
pub(super) struct Server(Child);

impl Server {
    /// Starts one that answers with `name`, in the namespace of that name.
    pub(super) fn start(name: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new("ip")
            .args(["netns", "exec", name])
            .arg(program)
            .args([
                "balancers::target::role",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(ROLE, name)
            .stdin(Stdio::null())
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
        // `ip netns exec` becomes the target, so this is the target itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
