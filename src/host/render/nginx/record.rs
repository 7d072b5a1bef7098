//! The object itself, in comments of its file.
//!
//! It is JSON in base64, because a comment ends at a line's end and labels and annotations are
//! anybody's text. Lines are short: nginx reads its files by 4 KiB and refuses what is longer.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::api::{LoadBalancer, Name, PortNumber, ResolvedBalancer};

const MARK: &str = "#= ";
const WIDTH: usize = 96;

/// What a balancer's file says of the object that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The object, without a status.
    pub object: LoadBalancer,
    /// Sockets that are listened on.
    pub listen: Vec<SocketAddr>,
    /// Sockets on which clients are sent to those with TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect: Vec<SocketAddr>,
    /// Targets that failing health checks took out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub out: BTreeSet<(Name, PortNumber)>,
}

impl Recorded {
    /// Makes the record of a balancer.
    pub fn of(balancer: &ResolvedBalancer) -> Self {
        let out = balancer.targets.iter().filter(|t| t.out);
        let mut object = balancer.object.clone();
        object.status = None;
        Self {
            object,
            listen: balancer.listen.clone(),
            redirect: balancer.redirect.clone(),
            out: out
                .map(|t| (t.target.instance.clone(), t.target.port))
                .collect(),
        }
    }

    /// Writes it as comments.
    ///
    /// # Errors
    /// What serde says; there is no object for which it says anything.
    pub(super) fn comments(&self) -> Result<String, serde_json::Error> {
        let encoded = STANDARD.encode(serde_json::to_vec(self)?);
        let mut text = String::new();
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(WIDTH));
            text.push_str(MARK);
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        Ok(text)
    }

    /// Reads it out of a file; `None` when the file is not one of ours, or damaged.
    pub fn read(text: &str) -> Option<Self> {
        let encoded: String = text
            .lines()
            .filter_map(|line| line.strip_prefix(MARK))
            .collect();
        let bytes = STANDARD.decode(encoded).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}
