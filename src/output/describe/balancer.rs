//! Describes load balancers.

use super::{Cell, Doc, Table};
use crate::api::{
    BalancerCounters, HealthCheck, LoadBalancer, LoadBalancerSpec, LoadBalancerStatus,
    TargetSource, TargetStatus,
};
use crate::output::columns::balancer::{health, listen, phase};

const NONE: &str = "<none>";

pub(super) fn body(doc: &mut Doc, o: &LoadBalancer) {
    doc.list("Listens on", listen(o));
    doc.field("Protocol", o.spec.protocol().as_str());
    doc.field("Algorithm", o.spec.algorithm().as_str());
    spec(doc, &o.spec);
    let Some(status) = &o.status else { return };
    if let Some(watched) = status.watched {
        let line = match watched {
            true => "Yes",
            false => {
                "No; kvmctl reconcile --watch does it, and kvmctl setup --persist lets systemd do it"
            }
        };
        doc.field("Watched", line);
    }
    doc.field("Status", phase(o));
    doc.maybe("Reason", status.reason.as_ref());
    doc.maybe("Message", status.message.as_ref());
    if let Some(c) = &status.counters {
        counters(doc, c);
    }
    doc.table("Targets", targets(status));
}

fn spec(doc: &mut Doc, spec: &LoadBalancerSpec) {
    if let Some(selector) = &spec.selector {
        let labels = selector.match_labels.iter();
        doc.list("Selector", labels.map(|(k, v)| format!("{k}={v}")));
        doc.maybe("Target port", spec.target_port);
    }
    if let Some(http) = &spec.http {
        if !http.hostnames.is_empty() {
            doc.list("Host names", http.hostnames.iter().map(ToString::to_string));
        }
        doc.maybe("Longest body", http.max_body_size);
    }
    if let Some(tls) = &spec.tls {
        doc.field("Certificate", tls.certificate_file.as_str());
        doc.field("Key", tls.key_file.as_str());
    }
    if let Some(port) = spec.redirect_port() {
        doc.field("Redirect", format!("from port {port} to {}", spec.port));
    }
    if let Some(check) = &spec.health_check {
        doc.field("Health check", check_line(check));
    }
    if spec.proxy_protocol == Some(true) {
        doc.field("PROXY header", "Yes");
    }
}

fn check_line(check: &HealthCheck) -> String {
    let what = match &check.path {
        Some(path) => format!("GET {path}"),
        None => "connect".to_owned(),
    };
    format!(
        "{what} every {}, {} to answer; out after {} failures, in after {} answers",
        check.interval(),
        check.timeout(),
        check.unhealthy_threshold(),
        check.healthy_threshold()
    )
}

fn counters(doc: &mut Doc, counters: &BalancerCounters) {
    let classes = counters.statuses.as_ref().map(|s| {
        format!(
            " (1xx {}, 2xx {}, 3xx {}, 4xx {}, 5xx {})",
            s.informational, s.success, s.redirection, s.client_error, s.server_error
        )
    });
    let classes = classes.unwrap_or_default();
    doc.field("Requests", format!("{}{classes}", counters.requests));
    let opened = counters.opened.map(|n| format!("{n} opened"));
    let open = counters.connections.map(|n| format!("{n} open now"));
    let parts: Vec<String> = opened.into_iter().chain(open).collect();
    doc.maybe("Connections", (!parts.is_empty()).then(|| parts.join(", ")));
}

fn targets(status: &LoadBalancerStatus) -> Table {
    let titles = [
        "TARGET",
        "ADDRESS",
        "WEIGHT",
        "ROLE",
        "HEALTH",
        "LATENCY",
        "OPEN",
        "LAST-ERROR",
    ];
    let mut table = Table::new(titles);
    for target in &status.targets {
        table.push([
            format!("{}:{}", target.instance, target.port).into(),
            or_none(target.address),
            target.weight.to_string().into(),
            role(target).into(),
            health(target.health),
            or_none(target.latency_micros.map(latency)),
            or_none(target.connections),
            or_none(target.last_error.as_ref()),
        ]);
    }
    table
}

fn role(target: &TargetStatus) -> String {
    let mut words = Vec::new();
    if target.source == TargetSource::Selected {
        words.push("selected");
    }
    if target.backup {
        words.push("backup");
    }
    if target.out {
        words.push("out");
    }
    match words.is_empty() {
        true => "target".to_owned(),
        false => words.join(","),
    }
}

fn latency(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros}us"),
        _ => format!("{}.{}ms", micros / 1000, micros % 1000 / 100),
    }
}

fn or_none(value: Option<impl ToString>) -> Cell {
    value
        .map_or_else(|| NONE.to_owned(), |v| v.to_string())
        .into()
}

#[cfg(test)]
mod tests {
    use crate::api::Described;
    use crate::output::columns::samples;
    use crate::output::describe::render;
    use crate::output::style::Paint;

    #[test]
    fn a_balancer_says_how_each_target_is() {
        let described = Described::new(samples::balancer("web-lb"));
        let text = render(&described, samples::ctx().now, Paint::Off);
        insta::assert_snapshot!(text, @r#"
        Name:         web-lb
        Kind:         LoadBalancer
        UID:          <none>
        Labels:       <none>
        Annotations:  <none>
        Created:      2024-05-01T11:00:00Z (60m ago)
        Listens on:   *:80/tcp
        Protocol:     http
        Algorithm:    least-conn
        Host names:   www.example.com
        Status:       Degraded
        Reason:       TargetsDown
        Message:      2 of 3 targets do not answer
        Requests:     120 (1xx 0, 2xx 118, 3xx 0, 4xx 2, 5xx 0)
        Connections:  3 open now
        Targets:
          TARGET      ADDRESS                WEIGHT   ROLE     HEALTH       LATENCY   OPEN     LAST-ERROR
          web1:8080   192.168.122.201:8080   3        target   Healthy      1.2ms     <none>   <none>
          web2:8080   192.168.122.202:8080   1        target   Unhealthy    <none>    <none>   nobody listens
          web3:8080   <none>                 1        backup   Unresolved   <none>    <none>   no address of instance "web3" is known
        Events:       <none>
        "#);
    }
}
