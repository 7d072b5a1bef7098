use std::fs::OpenOptions;
use std::os::unix::net::UnixStream;

use super::*;

fn to(writer: impl Write + Send + 'static) -> Ui {
    Ui::new(
        Output::new(Box::new(writer), false, Paint::Off),
        Output::new(Box::new(io::sink()), false, Paint::Off),
        UiOptions::default(),
    )
}

#[test]
fn a_full_disk_is_one_error_and_no_panic() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = to(full).out("NAME\n").unwrap_err();
    assert_eq!(error.kind(), Kind::Failed);
    assert_eq!(
        error.message(),
        "cannot write to standard output: No space left on device (os error 28)"
    );
}

#[test]
fn a_reader_that_left_is_a_silent_error() {
    let (writer, reader) = UnixStream::pair().unwrap();
    drop(reader);
    let error = to(writer).out("NAME\n").unwrap_err();
    assert_eq!(error.kind(), Kind::BrokenPipe);
    let (ui, captured) = Ui::captured(UiOptions::default());
    ui.error(&error);
    assert_eq!(captured.err(), "");
}

#[test]
fn data_and_story_go_to_their_own_streams() {
    let (ui, captured) = Ui::captured(UiOptions::default());
    ui.out_line("data\x07").unwrap();
    ui.status("working\x1b[2J");
    ui.warn("careful\nerror: not an error of ours");
    ui.verbose(1, "unheard");
    assert_eq!(captured.out(), "data\\x07\n");
    assert_eq!(
        captured.err(),
        "working\\x1b[2J\nwarning: careful\n  error: not an error of ours\n"
    );
}

#[test]
fn quiet_keeps_warnings() {
    let (ui, captured) = Ui::captured(UiOptions {
        quiet: true,
        ..UiOptions::default()
    });
    ui.status("working");
    ui.warn("careful");
    assert_eq!(captured.err(), "warning: careful\n");
}

#[test]
fn text_from_outside_is_escaped_only_where_a_person_looks() {
    let (pipe, piped) = Ui::captured(UiOptions::default());
    pipe.out_foreign("a\x1b[31m\n").unwrap();
    assert_eq!(piped.out(), "a\x1b[31m\n");
    let (terminal, seen) = Ui::captured_terminal(UiOptions::default());
    terminal.out_foreign("a\x1b[31m\n").unwrap();
    assert_eq!(seen.out(), "a\\x1b[31m\n");
}

#[test]
fn every_condition_for_colour_counts() {
    assert_eq!(colour(true, false, true, true), Paint::Ansi);
    assert_eq!(colour(false, false, true, true), Paint::Off);
    assert_eq!(colour(true, true, true, true), Paint::Off);
    assert_eq!(colour(true, false, false, true), Paint::Off);
    assert_eq!(colour(true, false, true, false), Paint::Off);
}
