//! Because of whom nginx does not take a configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::error::NginxError;
use crate::api::{Protocol, Uid};
use crate::host::render::nginx::Site;

/// Names the balancer that is in the way of a change of others.
pub(super) fn blocked(error: NginxError, other: &Site) -> NginxError {
    let name = other.recorded.object.metadata.name.as_ref();
    match (error, name) {
        (NginxError::Rejected { said }, Some(name)) => NginxError::Blocked {
            name: name.to_string(),
            said,
        },
        (error, _) => error,
    }
}

/// Returns the balancer because of which nothing came into force, if it is one alone.
pub(super) fn culprit(error: &NginxError, sites: &BTreeMap<Uid, Site>) -> Option<Uid> {
    let named = |said: &str| {
        // Of a certificate that it cannot read, nginx does not say whose it is.
        let of_tls = |s: &Site| {
            s.tls().is_some_and(|pair| {
                let files = [&pair.certificate_file, &pair.key_file];
                files.iter().any(|f| said.contains(&format!("\"{f}\"")))
            })
        };
        let is_it = |s: &&Site| said.contains(&format!("/{}:", s.file)) || of_tls(s);
        sites.values().find(is_it).map(|s| s.uid)
    };
    let listening = |at: &SocketAddr, protocol: Option<Protocol>| {
        let here = |s: &&Site| {
            let mut sockets = s.sockets().into_iter();
            sockets.any(|(p, a)| a == *at && protocol.is_none_or(|wanted| wanted == p))
        };
        sites.values().find(here).map(|s| s.uid)
    };
    match error {
        NginxError::Rejected { said } => named(said),
        NginxError::Taken { protocol, at, .. } => listening(at, Some(*protocol)),
        NginxError::NoAddress(at) => listening(at, None),
        NginxError::NoStream => sites.values().find(|s| s.is_stream()).map(|s| s.uid),
        _ => None,
    }
}
