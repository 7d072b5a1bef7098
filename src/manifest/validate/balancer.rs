//! The rules of load balancers: combinations that nginx cannot do, or that mean nothing.

use std::collections::HashSet;
use std::time::Duration;

use crate::api::{Algorithm, BalancerHttp, BalancerProtocol, HealthCheck, LoadBalancerSpec, Span};
use crate::manifest::origin::Problem;
use crate::manifest::path::FieldPath;

const SSH: u16 = 22;
const MAX_TARGETS: usize = 500;
const MAX_WEIGHT: u16 = 1000;
const MAX_THRESHOLD: u16 = 100;
const MAX_HOSTNAMES: usize = 100;

pub(super) fn check(spec: &LoadBalancerSpec, problems: &mut Vec<Problem>) {
    let mut refuse = |path: &str, rule: &str| {
        problems.push(Problem::of_value(FieldPath::of(path), rule));
    };
    let protocol = spec.protocol();
    if spec.port.get() == SSH && protocol != BalancerProtocol::Udp {
        refuse("spec.port", "is the one by which one logs in to the host");
    }
    if let Some(address) = spec.address
        && (address.is_multicast() || address.to_string() == "255.255.255.255")
    {
        refuse("spec.address", "is no host's address");
    }
    if spec.http.is_some() && protocol != BalancerProtocol::Http {
        refuse("spec.http", "goes with protocol http");
    }
    if spec.tls.is_some() && protocol == BalancerProtocol::Udp {
        refuse("spec.tls", "goes with protocol http or tcp");
    }
    if spec.proxy_protocol == Some(true) && protocol != BalancerProtocol::Tcp {
        let rule = "goes with protocol tcp; over http targets find the client in X-Forwarded-For";
        refuse("spec.proxyProtocol", rule);
    }
    match (&spec.selector, spec.target_port) {
        (Some(_), None) => refuse("spec.targetPort", "not set, which a selector needs"),
        (None, Some(_)) => refuse("spec.targetPort", "goes with a selector"),
        _ => {}
    }
    if spec
        .selector
        .as_ref()
        .is_some_and(|s| s.match_labels.is_empty())
    {
        refuse("spec.selector.matchLabels", "selects nothing");
    }
    targets(spec, problems);
    if let Some(check) = &spec.health_check {
        health(check, protocol, problems);
    }
    if let Some(http) = &spec.http {
        web(http, spec, problems);
    }
}

fn targets(spec: &LoadBalancerSpec, problems: &mut Vec<Problem>) {
    let list = FieldPath::of("spec.targets");
    if spec.targets.len() > MAX_TARGETS {
        let rule = format!("{} targets, at most {MAX_TARGETS}", spec.targets.len());
        problems.push(Problem::of_value(list.clone(), rule));
    }
    let algorithm = spec.algorithm();
    let mut known = HashSet::new();
    for (n, target) in spec.targets.iter().enumerate() {
        let at = list.index(n);
        if !known.insert((&target.instance, target.port)) {
            let rule = format!("\"{target}\" is in the list already");
            problems.push(Problem::of_value(at.clone(), rule));
        }
        if target.weight.is_some_and(|w| w == 0 || w > MAX_WEIGHT) {
            let rule = format!("is between 1 and {MAX_WEIGHT}");
            problems.push(Problem::of_value(at.key("weight"), rule));
        }
        if target.is_backup() && !algorithm.has_backups() {
            problems.push(no_backups(at.key("backup"), algorithm));
        }
    }
    let selected = spec.selector.is_some();
    if !selected && !spec.targets.is_empty() && spec.targets.iter().all(|t| t.is_backup()) {
        let rule = "all are backups: one at least has to answer first";
        problems.push(Problem::of_value(list, rule));
    }
}

fn no_backups(path: FieldPath, algorithm: Algorithm) -> Problem {
    let able: Vec<&str> = Algorithm::ALL
        .iter()
        .filter(|a| a.has_backups())
        .map(|a| a.as_str())
        .collect();
    let rule = format!("nginx has no backups with {algorithm}");
    Problem::of_value(path, rule).help(format!("they go with {}", able.join(" and ")))
}

fn health(check: &HealthCheck, protocol: BalancerProtocol, problems: &mut Vec<Problem>) {
    let at = FieldPath::of("spec.healthCheck");
    if protocol == BalancerProtocol::Udp {
        let rule = "a target of protocol udp need not answer, so that it cannot be asked";
        problems.push(Problem::of_value(at, rule));
        return;
    }
    if check.path.is_some() && protocol != BalancerProtocol::Http {
        problems.push(Problem::of_value(at.key("path"), "goes with protocol http"));
    }
    let second = Duration::from_secs(1);
    span(
        &at.key("interval"),
        check.interval,
        second,
        3600 * second,
        problems,
    );
    let short = Duration::from_millis(10);
    span(
        &at.key("timeout"),
        check.timeout,
        short,
        60 * second,
        problems,
    );
    for (field, threshold) in [
        ("unhealthyThreshold", check.unhealthy_threshold),
        ("healthyThreshold", check.healthy_threshold),
    ] {
        if threshold.is_some_and(|n| n == 0 || n > MAX_THRESHOLD) {
            let rule = format!("is between 1 and {MAX_THRESHOLD}");
            problems.push(Problem::of_value(at.key(field), rule));
        }
    }
}

fn web(http: &BalancerHttp, spec: &LoadBalancerSpec, problems: &mut Vec<Problem>) {
    let at = FieldPath::of("spec.http");
    let names = at.key("hostnames");
    if http.hostnames.len() > MAX_HOSTNAMES {
        let rule = format!("{} names, at most {MAX_HOSTNAMES}", http.hostnames.len());
        problems.push(Problem::of_value(names.clone(), rule));
    }
    let mut known = HashSet::new();
    for (n, name) in http.hostnames.iter().enumerate() {
        if !known.insert(name) {
            problems.push(Problem::of_value(names.index(n), "is in the list already"));
        }
    }
    let redirect = at.key("redirectToHttps");
    match spec.redirect_port() {
        Some(_) if spec.tls.is_none() => {
            problems.push(Problem::of_value(redirect, "goes with spec.tls"));
        }
        Some(port) if port == spec.port => {
            let rule = "is the balancer's own port, where TLS is spoken";
            problems.push(Problem::of_value(redirect, rule));
        }
        Some(port) if port.get() == SSH => {
            let rule = "is the port by which one logs in to the host";
            problems.push(Problem::of_value(redirect, rule));
        }
        _ => {}
    }
    let (short, long) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
    let timeouts = http.timeouts.as_ref();
    for (field, given) in [
        ("connect", timeouts.and_then(|t| t.connect)),
        ("read", timeouts.and_then(|t| t.read)),
        ("send", timeouts.and_then(|t| t.send)),
    ] {
        span(&at.key("timeouts").key(field), given, short, long, problems);
    }
}

fn span(
    path: &FieldPath,
    given: Option<Span>,
    least: Duration,
    most: Duration,
    problems: &mut Vec<Problem>,
) {
    let fits = |span: Span| span.duration() >= least && span.duration() <= most;
    if given.is_some_and(|span| !fits(span)) {
        let (least, most) = (Span::of(least), Span::of(most));
        let rule = format!("is between {least} and {most}");
        problems.push(Problem::of_value(path.clone(), rule));
    }
}
