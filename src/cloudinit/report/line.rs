//! One line of the reporter, read.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::errors::ModuleError;
use super::verdict::Facts;
use super::{Report, ReportedNic, clean};
use crate::cloudinit::mime::decode_lines;

/// Longest line that is looked at, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

const MAX_NICS: usize = 32;
const MAX_ADDRESSES: usize = 16;

#[derive(Deserialize)]
struct Line {
    kvmctl: u32,
    boot_id: String,
    instance: String,
    round: u64,
    uptime: f64,
    ended: bool,
    sealed: bool,
    run: String,
    problems: String,
    log: String,
    net: String,
    status: Value,
    #[serde(default)]
    first: Option<First>,
}

/// What the first boot came to, told by a later one.
#[derive(Deserialize)]
struct First {
    log: String,
    status: Value,
}

/// Says which boot of the guest speaks; greetings tell it too.
#[derive(Deserialize)]
struct Speaker {
    kvmctl: u32,
    #[serde(alias = "hello")]
    boot_id: String,
}

/// Reads who speaks: the boot's id, of a report or a greeting.
pub fn parse_boot_id(line: &str) -> Option<String> {
    let speaker: Speaker = serde_json::from_str(line.get(..MAX_LINE).unwrap_or(line)).ok()?;
    (speaker.kvmctl == 1 && is_id(&speaker.boot_id)).then_some(speaker.boot_id)
}

/// Reads a line; `None` for a greeting, a piece of a line, or anything else that is no report.
pub fn parse_line(line: &str) -> Option<Report> {
    if line.len() > MAX_LINE {
        return None;
    }
    let line: Line = serde_json::from_str(line.trim()).ok()?;
    if line.kvmctl != 1 || !is_id(&line.boot_id) || !is_id(&line.instance) {
        return None;
    }
    let mut facts = Facts::default();
    if let Some(first) = &line.first {
        add_first(&mut facts, first)?;
    }
    facts.add_status(&line.status, line.ended);
    facts.add_log_lines(&text(&line.log)?);
    for problem in text(&line.problems)?.lines() {
        facts.add_error(ModuleError::new("kvmctl", problem));
    }
    add_run(&mut facts, &text(&line.run)?, &line);
    Some(Report {
        verdict: facts.verdict(line.ended),
        warnings: facts.warnings,
        nics: nics(&text(&line.net)?),
        round: line.round,
        // The cast saturates, and makes what is no number zero.
        uptime: line.uptime as u64,
        ended: line.ended,
        sealed: line.sealed,
        boot_id: line.boot_id,
        instance: line.instance,
    })
}

/// Takes up what went wrong at the first boot. Nothing repeats its work, so it holds for the later
/// ones too.
fn add_first(facts: &mut Facts, first: &First) -> Option<()> {
    let mut then = Facts::default();
    then.add_status(&first.status, true);
    then.add_log_lines(&text(&first.log)?);
    for error in then.errors {
        let message = format!("at the first boot: {}", error.message);
        facts.add_error(ModuleError::new(&error.module, &message));
    }
    Some(())
}

/// A UUID as the kernel and we write it.
fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn text(base64: &str) -> Option<String> {
    let bytes = decode_lines(base64)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Takes up the state of the startup commands: `STATE WHAT EXIT BOOT` and the last lines of output.
fn add_run(facts: &mut Facts, state: &str, line: &Line) {
    let mut lines = state.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (state, what, code, boot) = (word(), word(), word(), word());
    let message = match state {
        "failed" => {
            let mut output = lines.filter(|l| !l.trim().is_empty() && !l.starts_with("kvmctl: "));
            let last = output.next_back().unwrap_or("(no output)");
            // They run once, and at no later boot again.
            let when = match boot == line.boot_id {
                true => "",
                false => "at the first boot: ",
            };
            format!("{when}{what} exited with {code}: {last}")
        }
        "running" if boot != line.boot_id => {
            format!("{what} was cut off by a restart of the guest")
        }
        "pending" if line.ended => {
            "the startup commands never ran: cloud_final_modules is without scripts_vendor"
                .to_owned()
        }
        _ => return,
    };
    // cloud-init's own word for it says less.
    facts.errors.retain(|e| !is_scripts_vendor(&e.module));
    facts.add_error(ModuleError::new("scripts_vendor", &message));
}

/// Modules were written with a dash before cloud-init 23.
fn is_scripts_vendor(module: &str) -> bool {
    module.replace('-', "_") == "scripts_vendor"
}

/// Reads `link NAME MAC` lines, and those of `ip -o addr`.
fn nics(text: &str) -> Vec<ReportedNic> {
    let mut nics: Vec<ReportedNic> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().take(6).collect();
        match *words {
            ["link", name, mac] if nics.len() < MAX_NICS && is_mac(mac) => nics.push(ReportedNic {
                name: clean(name),
                mac: mac.to_ascii_lowercase(),
                addresses: Vec::new(),
            }),
            [_, name, "inet" | "inet6", address, ..] => add_address(&mut nics, name, address),
            _ => {}
        }
    }
    nics
}

fn is_mac(text: &str) -> bool {
    text.len() == 17 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
}

fn add_address(nics: &mut [ReportedNic], name: &str, address: &str) {
    let address = address.split('/').next().unwrap_or_default();
    let nic = nics.iter_mut().find(|nic| nic.name == name);
    if let (Some(nic), Ok(address)) = (nic, address.parse::<IpAddr>())
        && nic.addresses.len() < MAX_ADDRESSES
    {
        nic.addresses.push(address);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cloudinit::mime::base64_lines;
    use crate::cloudinit::report::{Stage, Verdict};

    const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn line(changes: &[(&str, Value)]) -> String {
        let mut line = serde_json::json!({
            "kvmctl": 1, "boot_id": BOOT, "instance": BOOT, "round": 3, "uptime": 12.34,
            "ended": true, "sealed": true, "run": "", "problems": "", "log": "", "net": "",
            "status": {"v1": {"stage": null, "init": {"errors": [], "start": 1.0}}},
        });
        for (key, value) in changes {
            line[*key] = value.clone();
        }
        line.to_string()
    }

    fn base64(text: &str) -> Value {
        Value::String(base64_lines(text.as_bytes()).replace('\n', ""))
    }

    fn failure(changes: &[(&str, Value)]) -> String {
        match parse_line(&line(changes)).unwrap().verdict {
            Verdict::Failed { errors } => errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_good_end_is_done_and_the_way_there_has_stages() {
        let report = parse_line(&line(&[])).unwrap();
        assert_eq!(report.verdict, Verdict::Done);
        assert_eq!((report.uptime, report.sealed), (12, true));
        let running = parse_line(&line(&[("ended", false.into())])).unwrap();
        assert_eq!(running.verdict, Verdict::Running { stage: Stage::Init });
        let early = line(&[("ended", false.into()), ("status", Value::Null)]);
        let stage = Stage::Waiting;
        assert_eq!(
            parse_line(&early).unwrap().verdict,
            Verdict::Running { stage }
        );
    }

    #[test]
    fn greetings_and_pieces_are_no_reports() {
        let whole = line(&[]);
        for text in [
            "",
            "{\"kvmctl\":1,\"hello\":\"x\"}",
            "null",
            "[1]",
            &whole[1..],
        ] {
            assert_eq!(parse_line(text), None, "{text}");
        }
        for length in 0..whole.len() - 1 {
            assert_eq!(parse_line(&whole[..length]), None);
        }
        let long = line(&[("problems", base64(&"x".repeat(MAX_LINE)))]);
        assert_eq!(parse_line(&long), None);
    }

    #[test]
    fn a_failed_startup_command_is_told_better_than_by_cloud_init() {
        let status = serde_json::json!({"v1": {"modules-final": {"start": 1, "errors": [
            "('scripts-vendor', RuntimeError('Runparts: 1 failures (kvmctl-run) in 1 attempted commands'))"]}}});
        let run = format!(
            "failed run[1] 3 {BOOT}\nout\nls: no such file\nkvmctl: run[1] exited with 3\n"
        );
        assert_eq!(
            failure(&[("status", status), ("run", base64(&run))]),
            "scripts_vendor: run[1] exited with 3: ls: no such file"
        );
        // This boot's cloud-init is content, but what failed was not done since.
        let run = "failed run[1] 3 another\nx\n";
        assert_eq!(
            failure(&[("run", base64(run))]),
            "scripts_vendor: at the first boot: run[1] exited with 3: x"
        );
        let run = "running run[0] 0 another\n";
        assert!(failure(&[("run", base64(run))]).contains("cut off by a restart"));
        assert!(failure(&[("run", base64("pending startup 0 -\n"))]).contains("never ran"));
        assert_eq!(failure(&[("run", base64("done all 0 x\n"))]), "Done");
    }

    #[test]
    fn a_failed_first_boot_is_told_by_later_ones() {
        let first = |errors: Value| serde_json::json!({"log": "", "status": {"v1": {"modules-final": {"start": 1, "errors": errors}}}});
        let error = "('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))";
        assert_eq!(
            failure(&[("first", first(serde_json::json!([error])))]),
            "scripts_user: at the first boot: Runparts: 1 failures (runcmd) in 1 attempted commands"
        );
        assert_eq!(failure(&[("first", first(serde_json::json!([])))]), "Done");
    }

    #[test]
    fn greetings_and_reports_tell_the_boot() {
        let hello = format!("{{\"kvmctl\":1,\"hello\":\"{BOOT}\"}}");
        for text in [hello.as_str(), &line(&[])] {
            assert_eq!(parse_boot_id(text).as_deref(), Some(BOOT));
        }
        for text in ["", "{}", "{\"kvmctl\":1,\"hello\":\"x\"}", &hello[1..]] {
            assert_eq!(parse_boot_id(text), None, "{text}");
        }
    }

    #[test]
    fn hostile_text_cannot_reach_a_terminal() {
        let status = serde_json::json!({"v1": {"init": {"start": 1, "errors": ["\u{1b}]0;x\u{7}\u{202e}"]}}});
        let text = failure(&[("status", status), ("problems", base64("a\u{9b}31m"))]);
        assert!(
            !text.chars().any(|c| c != '\n' && c.is_control()),
            "{text:?}"
        );
        let bad_id = line(&[("boot_id", "\u{1b}".into())]);
        assert_eq!(parse_line(&bad_id), None);
        assert_eq!(
            parse_line(&line(&[("uptime", (-1e300).into())]))
                .unwrap()
                .uptime,
            0
        );
    }

    #[test]
    fn interfaces_have_their_addresses() {
        let net = "link eth0 52:54:00:AA:bb:01\nlink bad zz\n\
            2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\ valid_lft 3000sec\n\
            2: eth0    inet6 fd00::5/64 scope global \\ valid_lft forever\n\
            3: nowhere    inet 10.0.0.6/24\n";
        let nics = parse_line(&line(&[("net", base64(net))])).unwrap().nics;
        assert_eq!(nics.len(), 1);
        assert_eq!(nics[0].mac, "52:54:00:aa:bb:01");
        let addresses: Vec<String> = nics[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.5", "fd00::5"]);
    }

    proptest! {
        #[test]
        fn any_line_does_no_harm(text in "(?s).{0,300}", run in "(?s).{0,100}", net in "(?s).{0,100}") {
            let _ = parse_line(&text);
            let made = line(&[("run", base64(&run)), ("net", base64(&net)), ("log", base64(&text))]);
            prop_assert!(parse_line(&made).is_some());
        }
    }
}
