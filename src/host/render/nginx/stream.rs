//! A balancer of connections or packets.

use super::http::{count, tls};
use super::upstream::{self, Part};
use super::word::{Own, Word, Writer};
use crate::api::{BalancerProtocol, ResolvedBalancer, Span, Uid};

/// A connection over which nothing goes for so long is dead; a target that is gone without a word is
/// found out earlier, by keep-alive.
const IDLE_CONNECTION: Span = Span::seconds(3600);
/// Packets have no end, so the memory of who talks to whom has one.
const IDLE_PACKETS: Span = Span::seconds(30);

pub(super) fn write(out: &mut Writer, uid: Uid, balancer: &ResolvedBalancer) {
    let has_targets = upstream::write(out, Part::Stream, uid, balancer);
    let spec = &balancer.object.spec;
    let udp = spec.protocol() == BalancerProtocol::Udp;
    out.block("server", &[], |out| {
        for at in &balancer.listen {
            let mut words: Vec<&dyn Word> = vec![at];
            if udp {
                // The packets of one client all go to one worker, which knows its target.
                words.extend([&"udp" as &dyn Word, &"reuseport"]);
            } else {
                words.push(&"so_keepalive=on");
            }
            if spec.tls.is_some() {
                words.push(&"ssl");
            }
            out.line("listen", &words);
        }
        if let Some(pair) = &spec.tls {
            tls(out, pair);
        }
        count(out, uid);
        if has_targets {
            pass(out, uid, balancer, udp);
        } else {
            out.line("return", &[&"\"\""]);
        }
    });
}

fn pass(out: &mut Writer, uid: Uid, balancer: &ResolvedBalancer, udp: bool) {
    let spec = &balancer.object.spec;
    let timeouts = spec.http.clone().unwrap_or_default().timeouts;
    out.line("proxy_pass", &[&Own(uid)]);
    let connect = timeouts.unwrap_or_default().connect();
    out.line("proxy_connect_timeout", &[&connect]);
    out.line(
        "proxy_timeout",
        &[if udp { &IDLE_PACKETS } else { &IDLE_CONNECTION }],
    );
    if !udp {
        out.line("proxy_socket_keepalive", &[&"on"]);
        if spec.proxy_protocol.unwrap_or(false) {
            out.line("proxy_protocol", &[&"on"]);
        }
    }
}
