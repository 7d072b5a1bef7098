//! `events`: what kvmctl has done, oldest first.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Timestamp};
use crate::error::Result;
use crate::output::{OutputFormat, age};
use crate::store::Event;

/// Which events.
#[derive(Debug, Clone, Args)]
pub(crate) struct EventsArgs {
    /// Only those of one object, as instance/web
    #[arg(long = "for", value_name = "TYPE/NAME")]
    object: Option<String>,
    /// Only these types: Normal, Warning
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Print no header line
    #[arg(long)]
    no_headers: bool,
    /// Go on printing what happens, until interrupted
    #[arg(long, short = 'w')]
    watch: bool,
}

impl EventsArgs {
    fn wants(&self, event: &Event) -> bool {
        let of_type = |t: &String| t.eq_ignore_ascii_case(event.kind_of_event());
        self.types.is_empty() || self.types.iter().any(of_type)
    }
}

/// Prints events.
pub(crate) fn run(ctx: &Ctx, _: Option<Kind>, args: EventsArgs) -> Result<()> {
    let key = match &args.object {
        Some(word) => {
            let words = [word.clone()];
            Targets::parse(None, &words, "events --for")?
                .named()?
                .into_iter()
                .next()
        }
        None => None,
    };
    let format = ctx.format(&["json", "table", "wide", "yaml"])?;
    let look = || -> Result<Vec<Event>> {
        let mut events = ctx.world()?.events(key.as_ref())?;
        events.retain(|e| args.wants(e));
        Ok(events)
    };
    let events = look()?;
    match (args.watch, is_table(&format)) {
        (false, false) => return ctx.print_value(&format, &json!({"items": events})),
        (false, true) if events.is_empty() => {
            ctx.ui().status("No events found.");
            return Ok(());
        }
        (true, false) => print_each(ctx, &format, &events)?,
        (_, true) => print_table(ctx, &events, args.no_headers)?,
    }
    if args.watch {
        return watch(ctx, &format, events, look);
    }
    Ok(())
}

/// How often a watch looks at the journal.
const LOOK: Duration = Duration::from_secs(1);
/// How much later than its time an event may come into the journal, in seconds.
const LATE: i64 = 60;

/// Prints what comes into the journal, until interrupted.
fn watch(
    ctx: &Ctx,
    format: &OutputFormat,
    mut seen: Vec<Event>,
    look: impl Fn() -> Result<Vec<Event>>,
) -> Result<()> {
    loop {
        std::thread::sleep(LOOK);
        let now = Timestamp::now().as_second();
        let mut recent = look()?;
        recent.retain(|e| now - e.time.as_second() <= LATE);
        let news: Vec<Event> = recent
            .iter()
            .filter(|e| !seen.contains(e))
            .cloned()
            .collect();
        if !news.is_empty() {
            match is_table(format) {
                true => print_table(ctx, &news, true)?,
                false => print_each(ctx, format, &news)?,
            }
        }
        seen = recent;
    }
}

const fn is_table(format: &OutputFormat) -> bool {
    matches!(format, OutputFormat::Table | OutputFormat::Wide)
}

/// Prints a document for each event.
fn print_each(ctx: &Ctx, format: &OutputFormat, events: &[Event]) -> Result<()> {
    for event in events {
        if *format == OutputFormat::Yaml {
            ctx.ui().out_line("---")?;
        }
        ctx.print_value(format, event)?;
    }
    Ok(())
}

fn print_table(ctx: &Ctx, events: &[Event], no_headers: bool) -> Result<()> {
    let now = Timestamp::now();
    let row = |e: &Event| {
        let object = format!("{}/{}", e.kind, e.name);
        let type_ = e.kind_of_event().to_owned();
        vec![
            age(e.time, now),
            type_,
            e.reason.clone(),
            object,
            e.message.clone(),
        ]
    };
    let rows = events.iter().map(row).collect();
    let titles = ["AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    ctx.print_rows(&titles, rows, no_headers)
}
