//! Makes load balancers, or changes some that are there: all of a run together, because nginx takes
//! its configuration over once for all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Holders;
use super::desired::desired;
use super::one::{already_exists, applied_of, line, plan_of, told, unwatched};
use super::worker::BalancerWorker;
use super::{OBJECT_WAIT, key_of, note, reach, serve};
use crate::api::{Kind, LoadBalancer, Name, ObjectKey, Reporter, Uid};
use crate::engine::executor::{Failed, execute};
use crate::engine::failpoint::boundary;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::engine::together::{Stage, each, in_order, only, todos};
use crate::error::{Error, Result};
use crate::observe::{Whereabouts, World};
use crate::plan::{ObjectPlan, Outcome};
use crate::store::{BalancerRecord, IntentOp, ObjectLock, STORE_WAIT, StoreLock, TargetName};

/// Makes or changes load balancers; each has its own result, in the order in which they are given.
///
/// An error is a conflict that names who has the port; the right or program that is missing; what
/// nginx refuses. A failed creation leaves nothing behind.
pub(in crate::engine) fn apply(
    world: &World,
    wanted: &[&LoadBalancer],
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Vec<Result<Applied>> {
    let run = Run {
        world,
        dry: options.dry_run != DryRun::None,
        reporter,
    };
    let name = |wanted: &&LoadBalancer| wanted.metadata.name.clone();
    in_order(wanted, name, |some| run.some(some, options.mode))
}

/// Changes a balancer that is locked already into `record`.
///
/// # Errors
/// As [`apply`]; what was is then in force again.
pub(super) fn update(
    world: &World,
    key: &ObjectKey,
    before: BalancerRecord,
    record: BalancerRecord,
    dry: bool,
    reporter: &dyn Reporter,
) -> Result<Applied> {
    let run = Run {
        world,
        dry,
        reporter,
    };
    let stage = changed(key.clone(), None, before, record, false);
    only(run.carry_out(vec![Ok(stage)]))
}

/// What is the same for all balancers of a run.
struct Run<'r> {
    world: &'r World,
    dry: bool,
    reporter: &'r dyn Reporter,
}

/// One that must be made or changed.
struct Todo<'w> {
    key: ObjectKey,
    _object: Option<ObjectLock<'w>>,
    before: Option<BalancerRecord>,
    record: BalancerRecord,
    /// What to tell: one that was half made comes out as created.
    outcome: Outcome,
}

impl Todo<'_> {
    /// A change that leaves the sockets as they are in force takes nothing from anybody.
    fn has_sockets(&self) -> bool {
        let sockets = self.record.spec.sockets();
        let before = self.before.as_ref();
        before.is_some_and(|b| b.begun.is_none() && b.spec.sockets() == sockets)
    }

    fn op(&self) -> IntentOp {
        match &self.before {
            None => IntentOp::Create,
            Some(before) => before.begun.unwrap_or(IntentOp::Update),
        }
    }

    /// What was changed and not made cannot be undone by withdrawing it.
    fn plan(&self) -> ObjectPlan {
        let outcome = match self.before {
            None => Outcome::Created,
            Some(_) => Outcome::Configured,
        };
        plan_of(&self.key, outcome, &self.record)
    }

    fn told(&self) -> Applied {
        told(&ObjectPlan {
            outcome: self.outcome,
            ..self.plan()
        })
    }
}

/// What there is to do for one that is there, and that nginx may have to read again all the same.
fn changed<'w>(
    key: ObjectKey,
    object: Option<ObjectLock<'w>>,
    before: BalancerRecord,
    record: BalancerRecord,
    again: bool,
) -> Stage<Todo<'w>> {
    if record == before && before.begun.is_none() && !again {
        return Stage::Done(told(&ObjectPlan::unchanged(key)));
    }
    let outcome = match before.begun {
        Some(IntentOp::Create) => Outcome::Created,
        _ => Outcome::Configured,
    };
    Stage::Wanted(Box::new(Todo {
        key,
        _object: object,
        before: Some(before),
        record,
        outcome,
    }))
}

impl<'r> Run<'r> {
    fn some(&self, wanted: &[&&LoadBalancer], mode: ApplyMode) -> Vec<Result<Applied>> {
        let locked: Vec<_> = wanted.iter().map(|w| self.lock(w)).collect();
        let known = match known(self.world) {
            Ok(known) => known,
            Err(error) => return wanted.iter().map(|_| Err(error.clone())).collect(),
        };
        let look = |(lock, wanted): (Result<_>, &&&LoadBalancer)| {
            let key = key_of(wanted)?;
            let before = known.get(&key.name).cloned();
            self.look(key, before, wanted, mode, lock?)
        };
        self.carry_out(locked.into_iter().zip(wanted).map(look).collect())
    }

    fn lock(&self, wanted: &LoadBalancer) -> Result<Option<ObjectLock<'r>>> {
        if self.dry {
            return Ok(None);
        }
        let (key, store) = (key_of(wanted)?, self.world.store()?);
        let name = key.name.as_str();
        Ok(Some(store.lock_object(
            Kind::LoadBalancer,
            name,
            OBJECT_WAIT,
        )?))
    }

    /// Works out what one should become.
    fn look(
        &self,
        key: ObjectKey,
        mut before: Option<BalancerRecord>,
        wanted: &LoadBalancer,
        mode: ApplyMode,
        object: Option<ObjectLock<'r>>,
    ) -> Result<Stage<Todo<'r>>> {
        if let Some(record) = before.take_if(|b| b.is_going())
            && !self.dry
        {
            super::delete::finish(self.world, &key, record, self.reporter)?;
        }
        let Some(before) = before else {
            let record = new_record(&key, wanted);
            return Ok(Stage::Wanted(Box::new(Todo {
                key,
                _object: object,
                before: None,
                record,
                outcome: Outcome::Created,
            })));
        };
        if mode == ApplyMode::Create && before.begun != Some(IntentOp::Create) {
            return Err(already_exists(&key));
        }
        let record = desired(&before, wanted, mode)?;
        let again = record.spec.tls.is_some() && self.is_renewed(record.uid);
        Ok(changed(key, object, before, record, again))
    }

    /// Returns whether a certificate is another by now than the one that nginx has loaded.
    fn is_renewed(&self, uid: Uid) -> bool {
        let nginx = self.world.nginx().ok();
        let renewed = nginx.and_then(|n| n.with_other_certificates().ok());
        renewed.is_some_and(|renewed| renewed.contains(&uid))
    }

    fn carry_out(&self, mut stages: Vec<Result<Stage<Todo<'_>>>>) -> Vec<Result<Applied>> {
        if let Err(error) = self.admit(&mut stages) {
            each(&mut stages, |_| Err(error.clone()));
        }
        let served = match self.dry {
            true => BTreeSet::new(),
            false => {
                let records: Vec<_> = todos(&stages).map(|t| &t.record).collect();
                serve::serve_together(self.world, &records)
            }
        };
        let finish = |stage: Stage<Todo<'_>>| match stage {
            Stage::Done(applied) => Ok(applied),
            Stage::Wanted(todo) if self.dry => Ok(todo.told()),
            Stage::Wanted(todo) => self.finish(*todo, &served),
        };
        stages.into_iter().map(|stage| finish(stage?)).collect()
    }

    /// Refuses what could never be served, before anything is written; takes the ports of the rest,
    /// and writes down what is begun, in one breath.
    fn admit(&self, stages: &mut [Result<Stage<Todo<'_>>>]) -> Result<()> {
        if todos(stages).next().is_none() {
            return Ok(());
        }
        let world = self.world;
        let (whereabouts, nginx) = (world.whereabouts()?, world.nginx()?);
        if !self.dry {
            nginx.may_change()?;
        }
        let (checker, mut holders) = (nginx.checker()?, Holders::collect(world)?);
        each(stages, |todo| {
            if todo.has_sockets() {
                return Ok(());
            }
            holders.check(&todo.record)?;
            let wanted = world.resolve(todo.record.clone(), &whereabouts)?;
            checker.check(&wanted.resolved)?;
            holders.keep(&todo.record);
            Ok(())
        });
        if self.dry {
            return Ok(());
        }
        let lock = world.store()?.lock(STORE_WAIT)?;
        // Somebody may have come between.
        let mut holders = Holders::collect(world)?;
        each(stages, |todo| {
            if !todo.has_sockets() {
                holders.check(&todo.record)?;
            }
            forget_out(&mut todo.record, &whereabouts);
            reach::allot(world, &mut todo.record, &whereabouts)?;
            let op = todo.op();
            write(world, &lock, &mut todo.record, op)?;
            holders.keep(&todo.record);
            Ok(())
        });
        Ok(())
    }

    fn finish(&self, todo: Todo<'_>, served: &BTreeSet<Uid>) -> Result<Applied> {
        let (world, key, uid) = (self.world, &todo.key, todo.record.uid);
        let worker = BalancerWorker::new(world, uid);
        let done = match served.contains(&uid) {
            // It is not taken back any more for a signal that came since.
            true => {
                boundary();
                worker.finish().map_err(|error| Failed {
                    error,
                    undone: false,
                })
            }
            false => execute(&todo.plan(), &worker, self.reporter),
        };
        let Err(failed) = done else {
            let reason = match todo.before {
                None => "Created",
                Some(_) => "Configured",
            };
            note(world, key, uid, reason, &line(&todo.record));
            let mut applied = todo.told();
            let before = todo.before.as_ref();
            if before.is_none_or(|b| b.spec.health_check.is_none()) {
                applied.notes.extend(unwatched(world, &todo.record)?);
            }
            return Ok(applied);
        };
        match todo.before {
            Some(before) => Err(take_back(world, before, &worker, failed.error)),
            None => {
                if failed.undone
                    && let Err(left) = worker.forget()
                {
                    tracing::warn!(target: "store", "cannot remove the record of {key}: {left}");
                }
                Err(failed.error.context(format!("cannot create {key}")))
            }
        }
    }
}

fn known(world: &World) -> Result<BTreeMap<Name, BalancerRecord>> {
    let all: Vec<BalancerRecord> = world.store_for_reading()?.all()?;
    Ok(all.into_iter().map(|r| (r.name.clone(), r)).collect())
}

fn new_record(key: &ObjectKey, wanted: &LoadBalancer) -> BalancerRecord {
    let mut record = BalancerRecord::new(Uid::random(), key.name.clone(), wanted.spec.clone());
    record.labels.clone_from(&wanted.metadata.labels);
    record.annotations.clone_from(&wanted.metadata.annotations);
    record.last_applied = Some(applied_of(&record));
    record
}

/// A target that is none any more, or that nobody checks any more, is not kept out.
fn forget_out(record: &mut BalancerRecord, whereabouts: &Whereabouts) {
    let targets = whereabouts.targets(&record.spec);
    let is_target = |out: &TargetName| targets.iter().any(|(t, _)| *out == TargetName::from(t));
    let checked = record.spec.health_check.is_some();
    record.out.retain(|out| checked && is_target(out));
}

fn write(
    world: &World,
    _lock: &StoreLock,
    record: &mut BalancerRecord,
    op: IntentOp,
) -> Result<()> {
    record.begin(op);
    Ok(world.store()?.put(record)?)
}

/// A change that nginx refused is no change.
fn take_back(
    world: &World,
    mut before: BalancerRecord,
    worker: &BalancerWorker<'_>,
    error: Error,
) -> Error {
    let back = || {
        let lock = world.store()?.lock(STORE_WAIT)?;
        let op = before.begun.unwrap_or(IntentOp::Update);
        write(world, &lock, &mut before, op)?;
        drop(lock);
        worker.again()
    };
    match { back }() {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take the change back: {left}")),
    }
}
