//! `events`: what kvmctl has done, oldest first.

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
    let events = ctx.world()?.events(key.as_ref())?;
    let wanted =
        |t: &str| args.types.is_empty() || args.types.iter().any(|w| w.eq_ignore_ascii_case(t));
    let events: Vec<Event> = events
        .into_iter()
        .filter(|e| wanted(e.kind_of_event()))
        .collect();
    if !matches!(format, OutputFormat::Table | OutputFormat::Wide) {
        return ctx.print_value(&format, &json!({"items": events}));
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = events
        .into_iter()
        .map(|e| {
            let object = format!("{}/{}", e.kind, e.name);
            let type_ = e.kind_of_event().to_owned();
            vec![age(e.time, now), type_, e.reason, object, e.message]
        })
        .collect();
    if rows.is_empty() {
        ctx.ui().status("No events found.");
        return Ok(());
    }
    ctx.print_rows(
        &["AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"],
        rows,
        args.no_headers,
    )
}
