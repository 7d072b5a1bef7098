//! `instances port NAME [PORT]`: which ports of the host lead to an instance, and nothing else.

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, PortMapping, Protocol};
use crate::error::{Error, Result};

/// Which instance and port.
#[derive(Debug, Clone, Args)]
pub(crate) struct PortArgs {
    /// Name of an instance
    #[arg(value_name = "NAME", index = 1)]
    target: String,
    /// Port of the instance, as 80 or 53/udp; all that are reached when absent
    #[arg(value_name = "PORT", index = 2)]
    port: Option<GuestPort>,
}

/// A port as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GuestPort {
    number: u16,
    protocol: Option<Protocol>,
}

impl std::str::FromStr for GuestPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((number, "tcp")) => (number, Some(Protocol::Tcp)),
            Some((number, "udp")) => (number, Some(Protocol::Udp)),
            Some(_) => return Err("the protocol is tcp or udp".to_owned()),
        };
        match number.parse() {
            Ok(0) | Err(_) => Err("write a port, as 80 or 53/udp".to_owned()),
            Ok(number) => Ok(Self { number, protocol }),
        }
    }
}

/// Prints the port of the host for each port asked for, one a line.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: PortArgs) -> Result<()> {
    ctx.has_one_form()?;
    let words = std::slice::from_ref(&args.target);
    let key = Targets::one_instance(noun, words, "port")?;
    let world = ctx.world()?;
    // That of an instance which is not there is another error than a port which is not led to.
    world.get(&key)?;
    let all = world.wanted_forwards()?;
    let ours = all
        .iter()
        .filter(|w| w.instance == key.name && !w.is_going());
    let ours: Vec<_> = ours.collect();
    let lines: Vec<String> = match args.port {
        None => ours.iter().map(|w| line(&w.ports)).collect(),
        Some(port) => ours
            .iter()
            .filter_map(|w| host_port(&w.ports, port))
            .collect(),
    };
    if let (true, Some(port)) = (lines.is_empty(), args.port) {
        let number = port.number;
        return Err(Error::not_found(format!(
            "no port of the host leads to port {number} of {key}"
        ))
        .hint(format!(
            "kvmctl forwards create {}-{number} --instance {} --port 0:{number}",
            key.name, key.name
        )));
    }
    lines.iter().try_for_each(|line| ctx.ui().out_line(line))
}

/// `80/tcp -> 0.0.0.0:8080`, as people know it from containers.
fn line(ports: &PortMapping) -> String {
    let address = address(ports);
    let stretch = |first: u16, last: u16| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    format!(
        "{}/{} -> {address}:{}",
        stretch(ports.guest, ports.last_guest()),
        ports.protocol,
        stretch(ports.host, ports.last_host())
    )
}

fn address(ports: &PortMapping) -> String {
    match ports.address {
        None => "0.0.0.0".to_owned(),
        Some(std::net::IpAddr::V6(a)) => format!("[{a}]"),
        Some(a) => a.to_string(),
    }
}

fn host_port(ports: &PortMapping, wanted: GuestPort) -> Option<String> {
    let meant = wanted.protocol.is_none_or(|p| p == ports.protocol);
    let within = (ports.guest..=ports.last_guest()).contains(&wanted.number);
    let port = ports.host + wanted.number.checked_sub(ports.guest)?;
    (meant && within).then(|| format!("{}:{port}", address(ports)))
}
