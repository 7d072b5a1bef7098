//! What a command prints that changes objects: a line for each as soon as it is done or, where `-o` asks
//! for them, the objects themselves when all is done.

use std::sync::Mutex;

use super::Ctx;
use crate::api::{Object, ObjectKey, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::manifest::{self, Strictness};
use crate::output::{self, Group, Order, OutputFormat, PrintRequest};
use crate::{engine, observe::World};

/// What has come of the objects of a command so far.
pub(crate) struct Results<'c> {
    ctx: &'c Ctx,
    format: OutputFormat,
    done: Mutex<Vec<ObjectKey>>,
}

impl Ctx {
    /// Begins to print what comes of objects.
    pub(crate) fn results(&self) -> Result<Results<'_>> {
        Ok(Results {
            ctx: self,
            format: self.format(output::RESULT_FORMATS_AND_TABLE)?,
            done: Mutex::default(),
        })
    }

    /// Prints objects as the result of a command; one that was asked for alone is not in a list.
    pub(super) fn print_result(
        &self,
        format: OutputFormat,
        objects: Vec<Object>,
        alone: bool,
    ) -> Result<()> {
        let request = PrintRequest {
            single: alone,
            order: Order::AsGiven,
            ..PrintRequest::new(format, Timestamp::now())
        };
        let group = |object: Object| Group {
            kind: object.kind(),
            objects: vec![object],
        };
        let groups: Vec<Group> = objects.into_iter().map(group).collect();
        output::print_objects(&self.ui, &request, &groups)
    }
}

impl Results<'_> {
    /// Tells what has come of one.
    pub(crate) fn tell(&self, key: &ObjectKey, word: &str) -> Result<()> {
        match self.format {
            OutputFormat::Table | OutputFormat::Wide => {
                self.ctx.ui.out_line(&format!("{key} {word}"))
            }
            OutputFormat::Name => self.ctx.ui.out_line(&key.to_string()),
            _ => {
                let mut done = self.done.lock().unwrap_or_else(|e| e.into_inner());
                done.push(key.clone());
                Ok(())
            }
        }
    }

    /// Prints those that were told of, where they are asked for: as `look` finds them, in the order of
    /// `asked`.
    pub(crate) fn show(
        self,
        asked: &[ObjectKey],
        look: impl Fn(&World, &ObjectKey) -> Result<Object>,
    ) -> Result<()> {
        let done = self.done.into_inner().unwrap_or_else(|e| e.into_inner());
        if done.is_empty() {
            return Ok(());
        }
        let world = self.ctx.world()?;
        let mut objects = Vec::with_capacity(done.len());
        for key in asked.iter().filter(|key| done.contains(key)) {
            match look(world, key) {
                Ok(object) => objects.push(object),
                // It may have been waited for that it goes.
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        self.ctx
            .print_result(self.format, objects, asked.len() == 1)
    }
}

/// Returns what an object would be, when nothing is changed.
pub(super) fn foreseen(world: &World, object: &Object) -> Result<Object> {
    let sides = engine::sides(world, object)?;
    let parsed = manifest::parse(&sides.name, &sides.wanted, Strictness::Ignore)
        .map_err(|problems| manifest::into_error(&problems))?;
    let one = parsed.objects.into_iter().next().map(|o| o.value);
    one.ok_or_else(|| Error::failed(format!("{} would be nothing", sides.name)))
}
