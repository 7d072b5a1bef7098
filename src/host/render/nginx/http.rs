//! A balancer of HTTP requests.

use super::upstream::{self, Part};
use super::word::{CountLog, HttpsUrl, Joined, Own, Word, Writer};
use crate::api::{BalancerTls, HostName, ResolvedBalancer, Uid};

/// What is said of a request to a target, beside what makes it a websocket.
const HEADERS: &[(&str, &str)] = &[
    ("Host", "$http_host"),
    ("X-Real-IP", "$remote_addr"),
    ("X-Forwarded-For", "$proxy_add_x_forwarded_for"),
    ("X-Forwarded-Proto", "$scheme"),
    ("X-Forwarded-Host", "$http_host"),
    ("X-Forwarded-Port", "$server_port"),
];

pub(super) fn write(out: &mut Writer, uid: Uid, balancer: &ResolvedBalancer) {
    let has_targets = upstream::write(out, Part::Http, uid, balancer);
    let spec = &balancer.object.spec;
    let names = spec.hostnames();
    out.block("server", &[], |out| {
        for at in &balancer.listen {
            listen(out, at, spec.tls.is_some(), names.is_empty());
        }
        server_name(out, names);
        if let Some(pair) = &spec.tls {
            tls(out, pair);
            // A client that speaks plain HTTP to a port of TLS.
            let here = HttpsUrl(spec.port.get());
            out.line("error_page", &[&"497", &"=308", &here]);
        }
        count(out, uid);
        let http = spec.http.clone().unwrap_or_default();
        out.line("client_max_body_size", &[&http.max_body_size()]);
        out.block("location", &[&"/"], |out| {
            if has_targets {
                pass(out, uid, balancer);
            } else {
                out.line("return", &[&"503"]);
            }
        });
    });
    if !balancer.redirect.is_empty() {
        redirect(out, uid, balancer);
    }
}

/// Sends clients that come without TLS to the port that has it.
fn redirect(out: &mut Writer, uid: Uid, balancer: &ResolvedBalancer) {
    let names = balancer.object.spec.hostnames();
    let there = HttpsUrl(balancer.object.spec.port.get());
    out.block("server", &[], |out| {
        for at in &balancer.redirect {
            listen(out, at, false, names.is_empty());
        }
        server_name(out, names);
        count(out, uid);
        // 308 and not 301: the method and the body stay.
        out.line("return", &[&"308", &there]);
    });
}

pub(super) fn listen(out: &mut Writer, at: &dyn Word, tls: bool, all_names: bool) {
    let mut words = vec![at];
    if tls {
        words.push(&"ssl");
    }
    if all_names {
        words.push(&"default_server");
    }
    out.line("listen", &words);
}

fn server_name(out: &mut Writer, names: &[HostName]) {
    if !names.is_empty() {
        let words: Vec<&dyn Word> = names.iter().map(|n| n as &dyn Word).collect();
        out.line("server_name", &words);
    }
}

/// Names the certificate; in both parts of nginx the directives are the same.
pub(super) fn tls(out: &mut Writer, pair: &BalancerTls) {
    out.line("ssl_certificate", &[&pair.certificate_file]);
    out.line("ssl_certificate_key", &[&pair.key_file]);
}

/// A few bits a request, and compressed: `tests/bench/lb.sh` says what it costs.
pub(super) fn count(out: &mut Writer, uid: Uid) {
    let words: [&dyn Word; 5] = [
        &CountLog(uid),
        &"kvmctl_count",
        &"gzip=1",
        &"buffer=4k",
        &"flush=1s",
    ];
    out.line("access_log", &words);
}

fn pass(out: &mut Writer, uid: Uid, balancer: &ResolvedBalancer) {
    let http = balancer.object.spec.http.clone().unwrap_or_default();
    let timeouts = http.timeouts.unwrap_or_default();
    out.line("proxy_pass", &[&Joined("http://", &Own(uid))]);
    out.line("proxy_connect_timeout", &[&timeouts.connect()]);
    out.line("proxy_read_timeout", &[&timeouts.read()]);
    out.line("proxy_send_timeout", &[&timeouts.send()]);
    // A level that sets one header inherits none, so all of them stand here.
    for (name, value) in HEADERS {
        out.line("proxy_set_header", &[name, value]);
    }
    if http.websocket.unwrap_or(true) {
        out.line("proxy_set_header", &[&"Upgrade", &"$kvmctl_upgrade"]);
        out.line("proxy_set_header", &[&"Connection", &"$kvmctl_connection"]);
    } else {
        out.line("proxy_set_header", &[&"Connection", &"\"\""]);
    }
}
