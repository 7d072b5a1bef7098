use std::fs;
use std::path::Path;

use super::server::{Act, Server};
use super::*;
use crate::image::digest::{Algorithm, Hasher};

mod pull;

/// A server, a directory to download to, and a file of 3 MiB to download.
struct Bench {
    server: Server,
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    sum: Checksum,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        let bytes: Vec<u8> = (0..3u32 << 20)
            .map(|i| (i.wrapping_mul(i) >> 9) as u8)
            .collect();
        let server = Server::start();
        server.put("/f.img", &bytes, Some("\"one\""));
        Self {
            server,
            dir: tempfile::tempdir().unwrap(),
            sum: sum_of(&bytes),
            bytes,
            options: Options {
                allow_http: true,
                backoff: Duration::from_millis(10),
                ..Options::default()
            },
        }
    }

    fn dest(&self) -> PathBuf {
        self.dir.path().join("f.img")
    }

    fn fetch(&self) -> Result<Downloaded, DownloadError> {
        self.fetch_with(Some(&self.sum), &mut |_, _| {})
    }

    /// Fetches; `hear` gets every progress and the stop flag.
    fn fetch_with(
        &self,
        sum: Option<&Checksum>,
        hear: &mut dyn FnMut(Progress, &AtomicBool),
    ) -> Result<Downloaded, DownloadError> {
        let stop = AtomicBool::new(false);
        let mut progress = |p| hear(p, &stop);
        let mut watch = Watch {
            stop: &stop,
            progress: &mut progress,
        };
        let fetcher = Fetcher::new(self.options.clone());
        fetcher.fetch(&self.server.url("/f.img"), &self.dest(), sum, &mut watch)
    }

    fn names(&self) -> Vec<String> {
        names_in(self.dir.path())
    }

    fn assert_whole(&self, got: &Downloaded) {
        assert!(fs::read(&got.path).unwrap() == self.bytes);
        assert_eq!(got.size, self.bytes.len() as u64);
        assert_eq!(got.sha256.to_string(), self.sum.hex());
        assert_eq!(self.names(), ["f.img"]);
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn sum_of(bytes: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(None);
    hasher.update(bytes);
    hasher.finish().1
}

#[test]
fn a_file_comes_whole_verified_and_private() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let mut last = None;
    let got = bench
        .fetch_with(Some(&bench.sum), &mut |p, _| last = Some(p))
        .unwrap();
    bench.assert_whole(&got);
    assert_eq!(got.verified.as_ref(), Some(&bench.sum));
    let total = bench.bytes.len() as u64;
    let wanted = Progress {
        received: total,
        total: Some(total),
        resumed: 0,
    };
    assert_eq!(last, Some(wanted));
    assert_eq!(
        fs::metadata(&got.path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_file_that_is_there_already_is_not_fetched_again() {
    let bench = Bench::new();
    bench.fetch().unwrap();
    let again = bench.fetch().unwrap();
    bench.assert_whole(&again);
    assert_eq!(bench.server.seen().len(), 1);
}

#[test]
fn cuts_are_mended_within_one_run_by_ranges() {
    let bench = Bench::new();
    bench.server.next(&[
        Act::CutAfter(1 << 20),
        Act::CutAfter(1 << 20),
        Act::Status(503),
    ]);
    let got = bench.fetch().unwrap();
    bench.assert_whole(&got);
    let seen = bench.server.seen();
    assert_eq!(seen.len(), 4);
    assert!(!seen[0].headers.contains_key("range"));
    let range = seen[1].headers["range"].strip_prefix("bytes=").unwrap();
    let from: usize = range.strip_suffix('-').unwrap().parse().unwrap();
    assert!(from > 0 && from <= 1 << 20, "{from}");
    assert_eq!(seen[1].headers["if-range"], "\"one\"");
}

#[test]
fn a_later_run_goes_on_where_the_first_was_interrupted() {
    let bench = Bench::new();
    let stop_soon = &mut |p: Progress, stop: &AtomicBool| {
        if p.received > 1 << 20 {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let error = bench.fetch_with(Some(&bench.sum), stop_soon).unwrap_err();
    assert!(
        matches!(error, DownloadError::Interrupted { .. }),
        "{error}"
    );
    assert_eq!(bench.names(), ["f.img.part", "f.img.part.json"]);
    let kept = fs::metadata(bench.dir.path().join("f.img.part"))
        .unwrap()
        .len();

    let mut first = None;
    let got = bench
        .fetch_with(Some(&bench.sum), &mut |p, _| {
            first.get_or_insert(p);
        })
        .unwrap();
    bench.assert_whole(&got);
    assert_eq!(first.unwrap().resumed, kept);
    let seen = bench.server.seen();
    assert_eq!(seen[1].headers["range"], format!("bytes={kept}-"));
}

#[test]
fn a_server_that_ignores_ranges_is_taken_from_the_beginning() {
    let bench = Bench::new();
    bench
        .server
        .next(&[Act::CutAfter(1 << 20), Act::IgnoreRange]);
    bench.assert_whole(&bench.fetch().unwrap());
}

#[test]
fn a_range_that_does_not_fit_is_not_joined() {
    let bench = Bench::new();
    bench
        .server
        .next(&[Act::CutAfter(1 << 20), Act::WrongRange]);
    bench.assert_whole(&bench.fetch().unwrap());
}

#[test]
fn a_file_that_changed_between_two_runs_is_fetched_anew() {
    let bench = Bench::new();
    fs::write(bench.dir.path().join("f.img.part"), vec![9; 1 << 20]).unwrap();
    let origin = serde_json::json!({
        "url": bench.server.url("/f.img"), "validator": "\"old\"", "total": bench.bytes.len(),
    });
    fs::write(bench.dir.path().join("f.img.part.json"), origin.to_string()).unwrap();
    bench.assert_whole(&bench.fetch().unwrap());
    assert_eq!(bench.server.seen()[0].headers["if-range"], "\"old\"");
}

#[test]
fn a_spoilt_part_is_fetched_anew_once() {
    let bench = Bench::new();
    fs::write(bench.dir.path().join("f.img.part"), vec![9; 1 << 20]).unwrap();
    let origin = serde_json::json!({
        "url": bench.server.url("/f.img"), "validator": "\"one\"", "total": bench.bytes.len(),
    });
    fs::write(bench.dir.path().join("f.img.part.json"), origin.to_string()).unwrap();
    bench.assert_whole(&bench.fetch().unwrap());
    assert_eq!(bench.server.seen().len(), 2);
}

#[test]
fn the_part_of_another_url_or_of_none_is_not_used() {
    for sidecar in [
        r#"{"url":"http://other/","validator":"\"one\"","total":5}"#,
        "{",
        "",
    ] {
        let bench = Bench::new();
        fs::write(bench.dir.path().join("f.img.part"), vec![9; 1 << 20]).unwrap();
        fs::write(bench.dir.path().join("f.img.part.json"), sidecar).unwrap();
        bench.assert_whole(&bench.fetch().unwrap());
        assert!(!bench.server.seen()[0].headers.contains_key("range"));
    }
}

#[test]
fn a_wrong_sum_names_both_and_leaves_nothing() {
    let bench = Bench::new();
    let wrong = Checksum::new(Algorithm::Sha256, &"ab".repeat(32)).unwrap();
    let error = bench.fetch_with(Some(&wrong), &mut |_, _| {}).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(wrong.hex()) && said.contains(bench.sum.hex()),
        "{said}"
    );
    assert!(bench.names().is_empty(), "{:?}", bench.names());
}

#[test]
fn a_file_without_length_or_sum_comes_too() {
    let bench = Bench::new();
    bench.server.next(&[Act::NoLength]);
    let got = bench.fetch_with(None, &mut |_, _| {}).unwrap();
    bench.assert_whole(&got);
    assert_eq!(got.verified, None);
}

#[test]
fn what_is_not_there_is_said_at_once() {
    let bench = Bench::new();
    for (act, repeats) in [(Act::Status(404), false), (Act::Status(403), false)] {
        let before = bench.server.seen().len();
        bench.server.next(&[act]);
        let error = bench.fetch().unwrap_err();
        assert!(error.to_string().contains("HTTP 40"), "{error}");
        assert_eq!(bench.server.seen().len() > before + 1, repeats);
        assert!(bench.names().is_empty());
    }
}

#[test]
fn retries_are_bounded() {
    let mut bench = Bench::new();
    bench.options.retries = 2;
    bench.server.next(&[Act::Status(500); 9]);
    let error = bench.fetch().unwrap_err();
    assert!(
        matches!(error, DownloadError::Status { status: 500, .. }),
        "{error}"
    );
    assert_eq!(bench.server.seen().len(), 3);
}

#[test]
fn nobody_listening_is_a_network_error() {
    let mut bench = Bench::new();
    bench.options.retries = 0;
    let fetcher = Fetcher::new(bench.options.clone());
    let stop = AtomicBool::new(false);
    let mut watch = Watch {
        stop: &stop,
        progress: &mut |_| {},
    };
    let error = fetcher.fetch("http://127.0.0.1:1/f", &bench.dest(), None, &mut watch);
    assert!(
        matches!(error, Err(DownloadError::Network { .. })),
        "{error:?}"
    );
}

#[test]
fn redirects_go_nowhere_but_to_http() {
    let bench = Bench::new();
    bench.server.next(&[Act::Redirect("/f.img")]);
    bench.assert_whole(&bench.fetch().unwrap());
    fs::remove_file(bench.dest()).unwrap();
    for to in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/f",
        "data:,x",
        "http://u:p@127.0.0.1/",
    ] {
        bench.server.next(&[Act::Redirect(to)]);
        let error = bench.fetch().unwrap_err();
        assert!(
            matches!(error, DownloadError::Redirect { .. }),
            "{to}: {error}"
        );
        assert!(bench.names().is_empty());
    }
    bench.server.next(&[Act::Redirect("/f.img"); 20]);
    let error = bench.fetch().unwrap_err();
    assert!(
        error.to_string().contains("more than ten redirects"),
        "{error}"
    );
}

#[test]
fn plain_http_is_refused_before_anything_is_sent() {
    let mut bench = Bench::new();
    bench.options.allow_http = false;
    let error = bench.fetch().unwrap_err();
    assert!(matches!(error, DownloadError::Insecure { .. }), "{error}");
    assert!(bench.server.seen().is_empty());
    assert!(bench.names().is_empty());
}

#[test]
fn a_server_that_drips_is_stalled_and_the_next_attempt_goes_on() {
    let mut bench = Bench::new();
    bench.options.stall_timeout = Duration::from_millis(300);
    bench.server.next(&[Act::DripAfter(1 << 20)]);
    bench.assert_whole(&bench.fetch().unwrap());
    assert_eq!(bench.server.seen().len(), 2);
    fs::remove_file(bench.dest()).unwrap();

    bench.options.retries = 0;
    bench.server.next(&[Act::DripAfter(0); 3]);
    let error = bench.fetch().unwrap_err();
    assert!(matches!(error, DownloadError::Stalled { .. }), "{error}");
}

#[test]
fn an_interrupt_is_heard_while_the_server_is_silent() {
    let bench = Bench::new();
    bench.server.next(&[Act::DripAfter(1)]);
    let started = Instant::now();
    let error = bench
        .fetch_with(Some(&bench.sum), &mut |_, stop| {
            stop.store(true, Ordering::Relaxed)
        })
        .unwrap_err();
    assert!(
        matches!(error, DownloadError::Interrupted { .. }),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_size_cap_holds_with_and_without_a_length() {
    let mut bench = Bench::new();
    bench.options.max_size = 1 << 20;
    for act in [Act::Serve, Act::NoLength] {
        bench.server.next(&[act]);
        let error = bench.fetch().unwrap_err();
        assert!(matches!(error, DownloadError::TooLarge { .. }), "{error}");
        assert!(bench.names().is_empty());
    }
}

#[test]
fn two_that_want_the_same_file_share_one_download() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bench.fetch().unwrap());
        }
    });
    assert_eq!(bench.server.seen().len(), 1);
    bench.assert_whole(&bench.fetch().unwrap());
}

#[test]
fn a_symlink_in_place_of_the_part_is_not_followed() {
    let bench = Bench::new();
    let victim = bench.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, bench.dir.path().join("f.img.part")).unwrap();
    let error = bench.fetch().unwrap_err();
    assert!(matches!(error, DownloadError::Local { .. }), "{error}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}
