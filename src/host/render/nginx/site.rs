//! One balancer's file.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::record::Recorded;
use super::word::Writer;
use super::{http, stream};
use crate::api::{BalancerProtocol, BalancerTls, Name, Protocol, ResolvedBalancer, Uid};

/// A balancer that was never given a name or an identity: nothing can be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a load balancer has no name or uid")]
pub struct NoIdentity;

/// One balancer's file and what the instance must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Identity of the balancer.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// What the file is called: `NAME.UID8.conf`.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// The object behind it.
    pub recorded: Recorded,
}

impl Site {
    /// Writes a balancer's file.
    ///
    /// # Errors
    /// [`NoIdentity`].
    pub fn render(balancer: &ResolvedBalancer) -> Result<Self, NoIdentity> {
        let recorded = Recorded::of(balancer);
        let (name, uid) = identity(&recorded)?;
        let mut out = Writer::default();
        out.comment("Made by kvmctl, which undoes what is changed here by hand.");
        match balancer.object.spec.protocol() {
            BalancerProtocol::Http => http::write(&mut out, uid, balancer),
            BalancerProtocol::Tcp | BalancerProtocol::Udp => {
                stream::write(&mut out, uid, balancer);
            }
        }
        let text = recorded.comments().map_err(|_| NoIdentity)? + &out.finish();
        Ok(Self {
            file: file_name(&name, uid),
            name,
            uid,
            text,
            recorded,
        })
    }

    /// Reads a file that was written before; `None` when it is none of ours.
    pub fn read(text: String) -> Option<Self> {
        let recorded = Recorded::read(&text)?;
        let (name, uid) = identity(&recorded).ok()?;
        Some(Self {
            file: file_name(&name, uid),
            name,
            uid,
            text,
            recorded,
        })
    }

    /// Returns whether it is for the part of nginx that knows no HTTP.
    pub fn is_stream(&self) -> bool {
        self.recorded.object.spec.protocol() != BalancerProtocol::Http
    }

    /// Returns its certificate.
    pub const fn tls(&self) -> Option<&BalancerTls> {
        self.recorded.object.spec.tls.as_ref()
    }

    /// Returns all sockets that it listens on.
    pub fn sockets(&self) -> BTreeSet<(Protocol, SocketAddr)> {
        let transport = self.recorded.object.spec.protocol().transport();
        let all = self.recorded.listen.iter().chain(&self.recorded.redirect);
        all.map(|at| (transport, *at)).collect()
    }

    /// Returns whether it takes the requests for every name on its sockets.
    pub(super) fn takes_all_names(&self) -> bool {
        self.recorded.object.spec.hostnames().is_empty()
    }
}

fn identity(recorded: &Recorded) -> Result<(Name, Uid), NoIdentity> {
    let metadata = &recorded.object.metadata;
    let name = metadata.name.clone().ok_or(NoIdentity)?;
    Ok((name, metadata.uid.ok_or(NoIdentity)?))
}

fn file_name(name: &Name, uid: Uid) -> String {
    format!("{name}.{}.conf", uid.short())
}
