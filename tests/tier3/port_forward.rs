//! Ports of the caller that lead to a guest while the command runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use super::host::{apply, expect_no_trace, guest_env, tiny};
use crate::support::Env;

struct Forward {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Forward {
    fn start(env: &Env, args: &[&str]) -> Self {
        let mut all = vec!["port-forward"];
        all.extend(args);
        let mut command = env.command(env!("CARGO_BIN_EXE_kvmctl"), &all);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Reads `Forwarding from 127.0.0.1:8080 -> 80`.
    fn listening(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let at = line.strip_prefix("Forwarding from ").expect(&line);
        at.split(" -> ").next().unwrap().parse().expect(&line)
    }

    fn interrupt(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

/// Asks as an old client does: it says all it has to say, and then only listens.
fn ask(at: SocketAddr) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(at) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

fn ask_until_up(at: SocketAddr) {
    let begin = Instant::now();
    while !ask(at).contains("hostname=") {
        assert!(
            begin.elapsed() < Duration::from_secs(90),
            "{at} does not answer"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_port_leads_to_the_guest_whatever_clients_do() {
    let env = guest_env();
    apply(&env, &tiny("ported"), &["--no-wait"]).ok();
    let mut forward = Forward::start(&env, &["instance/ported", ":80", "18081:80"]);
    let (four, six) = (forward.listening(), forward.listening());
    assert_eq!(four.port(), six.port());
    assert!(four.is_ipv4() && six.is_ipv6());
    ask_until_up(four);
    assert!(ask(six).contains("hostname="));
    assert!(ask("127.0.0.1:18081".parse().unwrap()).contains("hostname="));

    let _silent = TcpStream::connect(four).unwrap();
    for _ in 0..20 {
        let mut broken = TcpStream::connect(four).unwrap();
        broken.write_all(b"GET / HT").unwrap();
        rustix::net::sockopt::set_socket_linger(&broken, Some(Duration::ZERO)).unwrap();
    }
    // The small guest's server takes few at a time; what it turns away asks again.
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| ask_until_up(four));
        }
    });

    // A taken port is refused, and nothing else is listened on.
    let taken = env.kvmctl(["port-forward", "ported", "18081:80"]).code(5);
    taken.says("unable to listen on");

    // The guest may come and go.
    env.kvmctl([
        "instances",
        "restart",
        "ported",
        "--force",
        "--timeout",
        "1s",
    ])
    .ok();
    ask_until_up(four);
    assert_eq!(forward.interrupt(), 130);
    assert!(TcpStream::connect(four).is_err());

    env.kvmctl(["instances", "stop", "ported", "--force", "--timeout", "1s"])
        .ok();
    env.kvmctl(["port-forward", "ported", "8080:80", "--timeout", "1s"])
        .code(6)
        .says("is not running")
        .says("kvmctl instances start ported");
    env.kvmctl(["delete", "instance", "ported", "--now"]).ok();
    expect_no_trace("ported");
}

#[test]
fn what_cannot_be_forwarded_is_refused_at_once() {
    let env = guest_env();
    for bad in ["0", "8080:", "a:b", "53:53/udp", "1:2:3"] {
        env.kvmctl(["port-forward", "instance/none", bad]).code(2);
    }
    env.kvmctl(["port-forward", "instance/none", "8080:80"])
        .code(4);
    env.kvmctl(["port-forward", "instance/none"]).code(2);
}
