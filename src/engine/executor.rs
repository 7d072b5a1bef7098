//! Runs the stages of one plan; when a creation fails, what was done is undone backwards.

use std::thread;

use super::failpoint::boundary;
use super::signal::interrupted;
use crate::api::Reporter;
use crate::error::{Error, Result};
use crate::host::one_thread;
use crate::plan::{ObjectPlan, Outcome, Step};

/// What a step does to the world; one implementation a kind.
pub trait Worker: Sync {
    /// Does the step. Doing it twice has the effect of doing it once.
    ///
    /// # Errors
    /// Whatever stopped it; the world may be half changed, and [`Worker::undo`] mends that.
    fn run(&self, step: &Step) -> Result<()>;

    /// Takes back a step of a creation, whether it was done wholly, partly or not at all.
    ///
    /// # Errors
    /// Whatever stopped it.
    fn undo(&self, step: &Step) -> Result<()>;
}

/// A plan that did not come to its end.
#[derive(Debug)]
pub struct Failed {
    /// The first error, with what could not be undone as further causes.
    pub error: Error,
    /// Whether nothing of it is left; otherwise its intent must stay, for the next run.
    pub undone: bool,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// Runs a plan to its end.
///
/// The steps of a stage run in parallel. A failed or interrupted creation is undone; any other
/// operation stays where it is, and the intent on disk lets the next run finish it.
///
/// # Errors
/// `Failed`, with what is left of it.
pub fn execute(
    plan: &ObjectPlan,
    worker: &dyn Worker,
    reporter: &dyn Reporter,
) -> Result<(), Failed> {
    let mut begun: Vec<&Step> = Vec::new();
    for stage in &plan.stages {
        begun.extend(stage);
        boundary();
        let result = interrupted().and_then(|()| {
            reporter.phase(&plan.key, &stage_text(stage));
            run_stage(stage, worker)
        });
        if let Err(error) = result {
            let error = told_by_signal(error);
            return Err(if plan.outcome == Outcome::Created {
                undo(begun, worker, error)
            } else {
                let undone = false;
                Failed { error, undone }
            });
        }
    }
    boundary();
    Ok(())
}

/// A terminal's Ctrl-C also ends the tools that we run: their failure is then not the news.
fn told_by_signal(error: Error) -> Error {
    match interrupted() {
        Err(signal) if signal.kind() != error.kind() => signal.caused_by(error),
        _ => error,
    }
}

fn stage_text(stage: &[Step]) -> String {
    stage
        .iter()
        .map(Step::describe)
        .collect::<Vec<_>>()
        .join(", ")
}

fn run_stage(stage: &[Step], worker: &dyn Worker) -> Result<()> {
    if let [only] = stage {
        return worker.run(only);
    }
    if one_thread() {
        return stage.iter().try_for_each(|step| worker.run(step));
    }
    thread::scope(|scope| {
        let running: Vec<_> = stage
            .iter()
            .map(|s| scope.spawn(|| worker.run(s)))
            .collect();
        let mut results: Vec<Result<()>> = running.into_iter().map(join).collect();
        let first = results.iter().position(Result::is_err);
        first.map_or(Ok(()), |at| results.swap_remove(at))
    })
}

fn join(handle: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    handle
        .join()
        .unwrap_or_else(|_| Err(Error::failed("a step ended by a panic")))
}

fn undo(begun: Vec<&Step>, worker: &dyn Worker, error: Error) -> Failed {
    let mut failed = Failed {
        error,
        undone: true,
    };
    for step in begun.into_iter().rev() {
        boundary();
        if let Err(left) = worker.undo(step) {
            let cause = format!("could not undo \"{}\": {left}", step.describe());
            failed.error = failed.error.caused_by(cause);
            failed.undone = false;
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::api::Silent;
    use crate::api::{Kind, Name, ObjectKey};
    use crate::plan::instance::Step as I;

    /// A world of steps done; it can refuse one of them.
    struct World {
        done: Mutex<BTreeSet<String>>,
        refuses: Option<String>,
    }

    impl Worker for World {
        fn run(&self, step: &Step) -> Result<()> {
            if self.refuses.as_deref() == Some(&step.describe()) {
                return Err(Error::failed("no"));
            }
            self.done.lock().unwrap().insert(step.describe());
            Ok(())
        }

        fn undo(&self, step: &Step) -> Result<()> {
            self.done.lock().unwrap().remove(&step.describe());
            Ok(())
        }
    }

    fn steps() -> Vec<Vec<Step>> {
        let grace = |grace| Step::Instance(I::Shutdown { grace });
        vec![
            vec![grace(1), grace(2)],
            vec![grace(3)],
            vec![grace(4), grace(5), grace(6)],
        ]
    }

    proptest! {
        #[test]
        fn a_creation_leaves_everything_or_nothing(refused in proptest::option::of(1u64..=6)) {
            let refuses = refused.map(|n| Step::Instance(I::Shutdown { grace: n }).describe());
            let world = World { done: Mutex::default(), refuses };
            let key = ObjectKey::new(Kind::Instance, Name::new("web").unwrap());
            let plan = ObjectPlan { key, outcome: Outcome::Created, stages: steps(), notes: vec![] };
            let result = execute(&plan, &world, &Silent);
            prop_assert_eq!(result.is_err(), refused.is_some());
            prop_assert_eq!(world.done.lock().unwrap().len(), if refused.is_some() { 0 } else { 6 });
        }
    }
}
