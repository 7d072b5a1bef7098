//! The instance's own file: what all balancers share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::http::{listen, tls};
use super::site::Site;
use super::word::{Joined, Word, Writer};
use super::{CONTROL_SOCKET, ERROR_LOG, GENERATION_PATH, PID_FILE};
use crate::api::{BalancerTls, HostFile};

/// How nginx has the part that knows no HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamModule {
    /// It was built in.
    BuiltIn,
    /// It is a file that must be loaded.
    File(HostFile),
}

/// Who the workers run as, where a master that is root starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerUser {
    /// `nobody` and its group on Debian and its like.
    NobodyNogroup,
    /// `nobody` and its group elsewhere.
    NobodyNobody,
    /// Whoever starts it: not root.
    Caller,
}

/// What is particular to the host and the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The part for tcp and udp, where a balancer needs it.
    pub stream: Option<StreamModule>,
    /// Whether that part knows TLS.
    pub stream_tls: bool,
    /// Who the workers run as.
    pub user: WorkerUser,
    /// Name of the whole configuration: 64 hex digits of a hash.
    pub generation: [u8; 32],
}

/// Writes the instance's file.
pub fn main_file(instance: &Instance, sites: &[&Site]) -> String {
    let mut out = Writer::default();
    out.comment("Made by kvmctl, which undoes what is changed here by hand.");
    if let Some(StreamModule::File(path)) = &instance.stream {
        out.line("load_module", &[path]);
    }
    match instance.user {
        WorkerUser::NobodyNogroup => out.line("user", &[&"nobody", &"nogroup"]),
        WorkerUser::NobodyNobody => out.line("user", &[&"nobody", &"nobody"]),
        WorkerUser::Caller => {}
    }
    out.line("worker_processes", &[&"auto"]);
    out.line("worker_rlimit_nofile", &[&"16384"]);
    out.line("pid", &[&PID_FILE]);
    out.line("lock_file", &[&"run/nginx.lock"]);
    out.line("error_log", &[&ERROR_LOG, &"warn"]);
    out.block("events", &[], |out| {
        out.line("worker_connections", &[&"8000"]);
    });
    out.block("http", &[], |out| http(out, instance, sites));
    if instance.stream.is_some() {
        out.block("stream", &[], |out| stream(out, instance, sites));
    }
    out.finish()
}

fn http(out: &mut Writer, instance: &Instance, sites: &[&Site]) {
    // A line for each failure of a target would fill the disk while all are dead; probes say why.
    out.line("error_log", &[&ERROR_LOG, &"alert"]);
    out.line("access_log", &[&"off"]);
    out.line("server_tokens", &[&"off"]);
    for (directive, folder) in [
        ("client_body_temp_path", "tmp/body"),
        ("proxy_temp_path", "tmp/proxy"),
        ("fastcgi_temp_path", "tmp/fastcgi"),
        ("uwsgi_temp_path", "tmp/uwsgi"),
        ("scgi_temp_path", "tmp/scgi"),
    ] {
        out.line(directive, &[&folder]);
    }
    out.line("proxy_http_version", &[&"1.1"]);
    out.line("proxy_next_upstream", &[&"error", &"timeout"]);
    // What a slow client has not taken yet is not written to the host's disk.
    out.line("proxy_max_temp_file_size", &[&"0"]);
    out.line("proxy_redirect", &[&"off"]);
    out.line("proxy_socket_keepalive", &[&"on"]);
    out.line("server_names_hash_bucket_size", &[&"512"]);
    out.line("server_names_hash_max_size", &[&"16384"]);
    out.line("variables_hash_max_size", &[&"2048"]);
    if sites.iter().any(|s| !s.is_stream() && s.tls().is_some()) {
        tls_settings(out, "shared:kvmctl_http:4m");
    }
    // Only a websocket: an upgrade to HTTP/2 would pass requests by that nobody counts.
    map(out, "$http_upgrade", "$kvmctl_upgrade", "$http_upgrade");
    map(out, "$http_upgrade", "$kvmctl_connection", "upgrade");
    out.block("map", &[&"$connection_requests", &"$kvmctl_first"], |out| {
        out.line("default", &[&"\"\""]);
        out.line("1", &[&"+"]);
    });
    out.line("log_format", &[&"kvmctl_count", &"$status$kvmctl_first"]);
    out.block("server", &[], |out| control(out, instance));
    default_servers(out, sites);
    includes(out, sites, false);
}

fn stream(out: &mut Writer, instance: &Instance, sites: &[&Site]) {
    out.line("error_log", &[&ERROR_LOG, &"alert"]);
    if instance.stream_tls && sites.iter().any(|s| s.is_stream() && s.tls().is_some()) {
        tls_settings(out, "shared:kvmctl_stream:4m");
    }
    out.line("log_format", &[&"kvmctl_count", &"$status"]);
    includes(out, sites, true);
}

fn tls_settings(out: &mut Writer, cache: &'static str) {
    out.line("ssl_protocols", &[&"TLSv1.2", &"TLSv1.3"]);
    out.line("ssl_session_cache", &[&cache]);
}

fn map(out: &mut Writer, of: &'static str, to: &'static str, websocket: &'static str) {
    out.block("map", &[&of, &to], |out| {
        out.line("default", &[&"\"\""]);
        out.line("~*^websocket$", &[&websocket]);
    });
}

/// Tells kvmctl, and nobody else, which configuration the worker that answers has.
fn control(out: &mut Writer, instance: &Instance) {
    out.line("listen", &[&Joined("unix:", &CONTROL_SOCKET)]);
    out.block("location", &[&"=", &GENERATION_PATH], |out| {
        out.line("return", &[&"200", &Hex(&instance.generation)]);
    });
}

/// Sockets that balancers share by name need somebody for the names of none: else it would be
/// whoever stands first.
fn default_servers(out: &mut Writer, sites: &[&Site]) {
    let mut taken = BTreeSet::new();
    let mut open: BTreeMap<SocketAddr, Option<&BalancerTls>> = BTreeMap::new();
    for site in sites.iter().filter(|s| !s.is_stream()) {
        let listen = site.recorded.listen.iter().map(|at| (at, site.tls()));
        let redirect = site.recorded.redirect.iter().map(|at| (at, None));
        for (at, pair) in listen.chain(redirect) {
            if site.takes_all_names() {
                taken.insert(*at);
            } else {
                open.entry(*at).or_insert(pair);
            }
        }
    }
    for (at, pair) in open.iter().filter(|(at, _)| !taken.contains(*at)) {
        out.block("server", &[], |out| {
            listen(out, at, pair.is_some(), true);
            if let Some(pair) = pair {
                // Refusing the handshake needs nginx 1.19.4; one of the certificates will do.
                tls(out, pair);
            }
            out.line("return", &[&"404"]);
        });
    }
}

fn includes(out: &mut Writer, sites: &[&Site], stream: bool) {
    for site in sites.iter().filter(|s| s.is_stream() == stream) {
        out.line("include", &[&SiteFile(site)]);
    }
}

/// A file's name is made of a name and hex digits.
struct SiteFile<'a>(&'a Site);

impl Word for SiteFile<'_> {
    fn put(&self, text: &mut String) {
        text.push_str(super::SITES);
        text.push('/');
        text.push_str(&self.0.file);
    }
}

struct Hex<'a>(&'a [u8; 32]);

impl Word for Hex<'_> {
    fn put(&self, text: &mut String) {
        for byte in self.0 {
            text.push_str(&format!("{byte:02x}"));
        }
    }
}
