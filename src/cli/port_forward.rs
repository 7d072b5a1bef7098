//! `port-forward`: ports of this machine that lead to an instance while the command runs.

use std::sync::Arc;

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Span};
use crate::engine::{self, ForwardEvent, ForwardRequest, Interrupt, PortPair, TellForward};
use crate::error::{Error, Result};

/// What to forward.
#[derive(Debug, Clone, Args)]
pub(crate) struct PortForwardArgs {
    /// Instance: NAME or instance/NAME
    #[arg(value_name = "INSTANCE", index = 1)]
    target: String,
    /// Ports: 8080:80, 80 (the same here and there), :80 or 0:80 (a free port here)
    #[arg(value_name = "[LOCAL:]PORT", required = true, index = 2)]
    ports: Vec<String>,
    /// Addresses of this machine to listen on (can be repeated)
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "localhost"
    )]
    address: Vec<String>,
    /// How long to wait for an instance that does not run
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1m",
        visible_alias = "pod-running-timeout"
    )]
    timeout: Span,
}

/// Forwards until it is interrupted.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: PortForwardArgs) -> Result<()> {
    let key = Targets::one_instance(noun, &[args.target], "port-forward")?;
    let ports = args.ports.iter().map(|p| pair(p)).collect::<Result<_>>()?;
    let request = ForwardRequest {
        ports,
        addresses: args.address,
        timeout: args.timeout.duration(),
    };
    Interrupt::install().map_err(|e| Error::failed("cannot catch signals").caused_by(e))?;
    let ui = ctx.ui().clone();
    let told = key.clone();
    let tell: Arc<TellForward> = Arc::new(move |event| match event {
        // Who does not read what is said wants the ports all the same.
        ForwardEvent::Listening { at, guest } => {
            let _ = ui.out_line(&format!("Forwarding from {at} -> {guest}"));
        }
        ForwardEvent::Connection { port } => {
            let _ = ui.out_line(&format!("Handling connection for {port}"));
        }
        ForwardEvent::Failed { port, guest, why } => {
            ui.warn(&format!("cannot forward {port} -> {guest}: {why}"));
        }
        ForwardEvent::Stopped => ui.warn(&format!(
            "{told} does not run any more; its ports lead nowhere until it starts"
        )),
        ForwardEvent::Started => ui.status(&format!("{told} runs again")),
    });
    engine::port_forward(ctx.world()?, &key, &request, &tell, ctx.reporter().as_ref())
}

/// Reads `LOCAL:PORT`, `:PORT` or `PORT`.
fn pair(text: &str) -> Result<PortPair> {
    let odd = |rule: &str| {
        Error::usage(format!("{text:?} is no pair of ports: {rule}"))
            .hint("8080:80, 80, :80 or 0:80")
    };
    let ports = match text.rsplit_once('/') {
        None => text,
        Some((ports, "tcp")) => ports,
        Some(_) => {
            return Err(odd("only tcp can be forwarded this way"));
        }
    };
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| odd("a port is a number up to 65535"))
    };
    let (local, guest) = match ports.split_once(':') {
        None => (port(ports)?, port(ports)?),
        Some(("", guest)) => (0, port(guest)?),
        Some((local, guest)) => (port(local)?, port(guest)?),
    };
    match guest {
        0 => Err(odd("a port of the guest is 1 or above")),
        guest => Ok(PortPair { local, guest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_reads_them() {
        let read = |text| pair(text).map(|p| (p.local, p.guest)).ok();
        assert_eq!(read("8080:80"), Some((8080, 80)));
        assert_eq!(read("80"), Some((80, 80)));
        assert_eq!(read(":80"), Some((0, 80)));
        assert_eq!(read("0:80/tcp"), Some((0, 80)));
        for bad in [
            "",
            ":",
            "80:",
            "8080:0",
            "0",
            "x",
            "1:2:3",
            "-1",
            "70000",
            "53:53/udp",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
