//! The guest agent of a guest that another test has booted.

use std::time::Duration;

use kvmctl::libvirt::{
    AddressQuery, Cause, Domain, EventKind, EventWaiter, GuestPath, Host, Waited,
};

use super::bench::{MIB, soon};

/// Hears whether the agent of a domain answers from now on.
pub(in crate::tier3) struct Listener {
    host: Host,
    domain: Domain,
    events: EventWaiter,
}

impl Listener {
    pub(in crate::tier3) fn on(name: &str) -> Self {
        let host = Host::open("qemu:///system").unwrap();
        let domain = host.domain(name).unwrap();
        let events = EventWaiter::new(&host, [domain.uid()]).unwrap();
        Self {
            host,
            domain,
            events,
        }
    }

    /// Expects that it was told of the agent, and what the agent can do.
    #[track_caller]
    pub(in crate::tier3) fn expect_agent(self) {
        assert!(self.host.is_alive());
        let deadline = soon(60);
        loop {
            match self.events.next(deadline) {
                Waited::Event(event) if event.kind == EventKind::AgentConnected => break,
                Waited::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(self.domain.agent_answers());
        runs(&self.domain);
        moves(&self.domain);
        let addresses = self.domain.addresses(AddressQuery::Agent).unwrap();
        assert!(
            addresses.iter().any(|a| a.ip.is_loopback()),
            "{addresses:?}"
        );
    }
}

#[track_caller]
fn runs(domain: &Domain) {
    let run = |argv: &[&str], input: &[u8]| {
        let argv: Vec<String> = argv.iter().map(|&a| a.to_owned()).collect();
        domain.agent_exec(&argv, input, Duration::from_secs(30))
    };
    let script = "cat; printf %s \"$1\" >&2; exit 7";
    let done = run(&["sh", "-c", script, "sh", "a 'b\n\u{fc}"], b"in\0put").unwrap();
    assert_eq!((done.code, done.truncated), (7, false));
    assert_eq!(done.stdout, b"in\0put");
    assert_eq!(done.stderr, "a 'b\n\u{fc}".as_bytes());
    let nosuch = run(&["/nosuch"], b"").unwrap_err();
    assert_eq!(nosuch.cause(), Cause::AgentRefused, "{nosuch}");
    let argv = ["sleep", "60"].map(str::to_owned);
    let long = domain.agent_exec(&argv, b"", Duration::from_secs(1));
    assert_eq!(long.unwrap_err().cause(), Cause::TimedOut);
}

#[track_caller]
fn moves(domain: &Domain) {
    let path = GuestPath("/root/data".to_owned());
    let bytes: Vec<u8> = (0..2 * MIB + 5)
        .map(|n| u8::try_from(n % 253).unwrap())
        .collect();
    let handle = domain.agent_open(&path, "w").unwrap();
    domain.agent_write(handle, &bytes).unwrap();
    domain.agent_close(handle).unwrap();
    let handle = domain.agent_open(&path, "r").unwrap();
    let mut back = Vec::new();
    loop {
        let piece = domain.agent_read(handle).unwrap();
        if piece.is_empty() {
            break;
        }
        back.extend(piece);
    }
    domain.agent_close(handle).unwrap();
    assert!(back == bytes);
}
