//! `edit`: the object in an editor, applied when it is closed.

use std::io::IsTerminal as _;

use clap::Args;

use super::context::Ctx;
use super::targets::Targets;
use crate::api::{Kind, Object, ObjectKey};
use crate::engine::{self, ApplyMode, ApplyOptions, DryRun};
use crate::error::{Error, Result};
use crate::host::Editor;
use crate::manifest::{self, Strictness};
use crate::output;

/// What to edit.
#[derive(Debug, Clone, Args)]
pub(crate) struct EditArgs {
    /// Objects: TYPE NAME or TYPE/NAME
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
}

const HEAD: &str = "# Edit the object below; lines that begin with '#' are ignored. An empty file cancels the edit.\n";

/// Opens the editor on each object.
pub(crate) fn run(ctx: &Ctx, noun: Option<Kind>, args: EditArgs) -> Result<()> {
    let editor = Editor::find()?;
    for key in Targets::parse(noun, &args.targets, "edit")?.named()? {
        edit(ctx, &editor, &key)?;
    }
    Ok(())
}

fn edit(ctx: &Ctx, editor: &Editor, key: &ObjectKey) -> Result<()> {
    let mut object = engine::editable(ctx.world()?, key)?;
    output::strip_status(&mut object);
    let original = manifest::to_manifest_yaml(&object);
    let mut text = format!("{HEAD}{original}");
    let mut refused: Option<String> = None;
    let mut file = editor.file(&format!("{}-{}", key.kind, key.name))?;
    loop {
        let edited = editor.edit(&mut file, &text)?;
        let bare = without_comments(&edited);
        if bare.trim().is_empty() || bare == original {
            ctx.ui().status("Edit cancelled, no changes made.");
            return Ok(());
        }
        if refused.as_ref() == Some(&bare) {
            let kept = file.keep()?;
            return Err(Error::usage("the edit was left invalid, no changes made")
                .hint(format!("your changes are in {}", kept.display())));
        }
        match apply(ctx, key, &bare) {
            Ok(()) => return Ok(()),
            // Without a person at it an editor would make the same fault for ever.
            Err(error) if !std::io::stdin().is_terminal() => {
                let kept = file.keep()?;
                return Err(error.hint(format!("your changes are in {}", kept.display())));
            }
            Err(error) => {
                text = with_error(&error, &bare);
                refused = Some(bare);
            }
        }
    }
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| format!("{l}\n"))
        .collect()
}

fn with_error(error: &Error, bare: &str) -> String {
    let lines: String = error
        .to_string()
        .lines()
        .map(|l| format!("# error: {l}\n"))
        .collect();
    format!("{HEAD}{lines}{bare}")
}

fn apply(ctx: &Ctx, key: &ObjectKey, text: &str) -> Result<()> {
    let parsed = manifest::parse("edited", text, Strictness::Strict)
        .map_err(|problems| manifest::into_error(&problems))?;
    let objects: Vec<Object> = parsed.objects.into_iter().map(|l| l.value).collect();
    if objects.iter().filter_map(Object::key).ne([key.clone()]) {
        return Err(Error::usage(format!(
            "the edited text must be {key}: kind and name cannot be changed"
        )));
    }
    let mode = ApplyMode::Replace;
    let options = ApplyOptions {
        mode,
        dry_run: DryRun::None,
        wait: None,
        error_unchanged: false,
    };
    ctx.apply(objects, &options)
}
