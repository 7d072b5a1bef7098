//! Makes stand-alone forwards, or changes some that are there: all of a run together, because what
//! they stand on is read, and the firewall written, once for all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claims;
use super::desired::desired;
use super::labels;
use super::one::{
    already_exists, applied_of, as_listed, can_lead, key_of, line, new_record, plan_of, probe, told,
};
use super::rules::{self, require_firewall};
use super::worker::ForwardWorker;
use super::{OBJECT_WAIT, note};
use crate::api::{Kind, Name, ObjectKey, PortForward, Reporter, Uid};
use crate::engine::executor::execute;
use crate::engine::failpoint::boundary;
use crate::engine::options::{Applied, ApplyMode, ApplyOptions, DryRun};
use crate::engine::together::{Stage, each, in_order, todos};
use crate::error::{Error, Result};
use crate::observe::{Origin, World};
use crate::plan::{ObjectPlan, Outcome};
use crate::store::{ForwardRecord, IntentOp, ObjectLock, STORE_WAIT, StoreLock};

/// Makes or changes forwards; each has its own result, in the order in which they are given.
///
/// An error is a conflict that names who has the port; the right that is missing; what the firewall
/// refuses. A failed creation leaves nothing behind.
pub(in crate::engine) fn apply(
    world: &World,
    wanted: &[&PortForward],
    options: &ApplyOptions,
    reporter: &dyn Reporter,
) -> Vec<Result<Applied>> {
    let run = Run {
        world,
        options,
        reporter,
    };
    let name = |wanted: &&PortForward| wanted.metadata.name.clone();
    in_order(wanted, name, |some| run.some(some))
}

/// What is the same for all forwards of a run.
struct Run<'r> {
    world: &'r World,
    options: &'r ApplyOptions,
    reporter: &'r dyn Reporter,
}

/// One that must be made or changed.
struct Todo<'w> {
    key: ObjectKey,
    _object: Option<ObjectLock<'w>>,
    before: Option<ForwardRecord>,
    record: ForwardRecord,
    /// What to tell: one that was half made comes out as created.
    outcome: Outcome,
}

impl Todo<'_> {
    /// Returns whether it asks for other ports of the host than it has.
    fn moves(&self) -> bool {
        self.before.as_ref().is_none_or(|before| {
            self.record.spec.mapping() != before.spec.mapping()
                || self.record.spec.localhost != before.spec.localhost
        })
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

impl<'r> Run<'r> {
    const fn is_dry(&self) -> bool {
        !matches!(self.options.dry_run, DryRun::None)
    }

    fn some(&self, wanted: &[&&PortForward]) -> Vec<Result<Applied>> {
        let locked: Vec<_> = wanted.iter().map(|w| self.lock(w)).collect();
        let seen = match Seen::new(self.world) {
            Ok(seen) => seen,
            Err(error) => return wanted.iter().map(|_| Err(error.clone())).collect(),
        };
        let look = |(lock, wanted): (Result<_>, &&&PortForward)| self.look(&seen, wanted, lock?);
        let mut stages: Vec<_> = locked.into_iter().zip(wanted).map(look).collect();
        self.lead(&mut stages);
        self.take(&mut stages);
        let together = match self.is_dry() {
            true => false,
            false => self.enforce(&stages),
        };
        let records = todos(&stages).flat_map(|t| [Some(&t.record), t.before.as_ref()]);
        let noted_at = labels::noted_at(records.flatten());
        if !self.is_dry() {
            // While the intents stand: who is killed before it is written does it again.
            labels::keep(self.world, &noted_at);
        }
        let finish = |stage: Stage<Todo<'_>>| match stage {
            Stage::Done(applied) => Ok(applied),
            Stage::Wanted(todo) if self.is_dry() => Ok(todo.told()),
            Stage::Wanted(todo) => self.finish(*todo, together),
        };
        let results: Vec<Result<Applied>> =
            stages.into_iter().map(|stage| finish(stage?)).collect();
        if !self.is_dry() && results.iter().any(Result::is_err) {
            labels::keep(self.world, &noted_at);
        }
        results
    }

    fn lock(&self, wanted: &PortForward) -> Result<Option<ObjectLock<'r>>> {
        if self.is_dry() {
            return Ok(None);
        }
        let (key, store) = (key_of(wanted)?, self.world.store()?);
        let name = key.name.as_str();
        Ok(Some(store.lock_object(
            Kind::PortForward,
            name,
            OBJECT_WAIT,
        )?))
    }

    /// Works out what one should become.
    fn look(
        &self,
        seen: &Seen,
        wanted: &PortForward,
        object: Option<ObjectLock<'r>>,
    ) -> Result<Stage<Todo<'r>>> {
        let key = key_of(wanted)?;
        if let Some(listed) = seen.listed.get(&key.name) {
            return as_listed(&key, listed, wanted, self.options).map(Stage::Done);
        }
        let mut before = seen.records.get(&key.name).cloned();
        if let Some(record) = before.take_if(|b| b.begun == Some(IntentOp::Delete))
            && !self.is_dry()
        {
            super::delete::finish(self.world, &key, record, self.reporter)?;
        }
        let half_made = |b: &ForwardRecord| b.begun == Some(IntentOp::Create);
        let (mut record, outcome) = match &before {
            None => (new_record(&key, wanted), Outcome::Created),
            Some(before) if self.options.mode == ApplyMode::Create && !half_made(before) => {
                return Err(already_exists(&key));
            }
            Some(before) => {
                let record = desired(before, wanted, self.options.mode)?;
                if record == *before && before.begun.is_none() {
                    return Ok(Stage::Done(told(&ObjectPlan::unchanged(key))));
                }
                let outcome = match half_made(before) {
                    true => Outcome::Created,
                    false => Outcome::Configured,
                };
                (record, outcome)
            }
        };
        require_firewall(self.world)?;
        record.last_applied = Some(applied_of(wanted));
        Ok(Stage::Wanted(Box::new(Todo {
            key,
            _object: object,
            before,
            record,
            outcome,
        })))
    }

    /// Refuses what could never be led anywhere, before anything is written.
    fn lead(&self, stages: &mut [Result<Stage<Todo<'_>>>]) {
        let probes = todos(stages).map(|todo| probe(&todo.record)).collect();
        match self.world.lead(probes) {
            Ok(led) => {
                let mut led = led.into_iter();
                each(stages, |todo| {
                    let Some(led) = led.next() else { return Ok(()) };
                    // An instance of the same run is not there yet when nothing is made; it has been
                    // looked for.
                    let foreseen = self.is_dry() && todo.before.is_none() && led.target.is_none();
                    if foreseen { Ok(()) } else { can_lead(&led) }
                });
            }
            Err(error) => each(stages, |_| Err(error.clone())),
        }
    }

    /// Takes the ports of the host that are asked for, and writes down what is begun before anybody
    /// else can.
    fn take(&self, stages: &mut [Result<Stage<Todo<'_>>>]) {
        if todos(stages).next().is_none() {
            return;
        }
        let locked = || match self.is_dry() {
            true => Ok(None),
            false => Ok(Some(self.world.store()?.lock(STORE_WAIT)?)),
        };
        let claims = |lock| Ok((lock, Claims::collect(self.world, &BTreeSet::new())?));
        let (lock, mut claims): (Option<StoreLock>, Claims) = match locked().and_then(claims) {
            Ok(both) => both,
            Err(error) => return each(stages, |_| Err(Error::clone(&error))),
        };
        each(stages, |todo| {
            if todo.moves() {
                take(&mut claims, &mut todo.record)?;
            }
            let Some(_lock) = &lock else { return Ok(()) };
            let op = match &todo.before {
                None => IntentOp::Create,
                Some(before) => before.begun.unwrap_or(IntentOp::Update),
            };
            todo.record.begin(op);
            Ok(self.world.store()?.put(&todo.record)?)
        });
    }

    /// Makes the rules of all of them at once. Where that fails, each is tried by itself, so that its
    /// error is its own.
    fn enforce(&self, stages: &[Result<Stage<Todo<'_>>>]) -> bool {
        let owners: BTreeSet<Uid> = todos(stages).map(|todo| todo.record.uid).collect();
        if owners.len() < 2 {
            return false;
        }
        boundary();
        match rules::enforce(self.world, &owners) {
            Ok(()) => true,
            Err(why) => {
                tracing::info!(target: "host", "not all together, so one by one: {why}");
                false
            }
        }
    }

    fn finish(&self, todo: Todo<'_>, together: bool) -> Result<Applied> {
        let (key, uid) = (&todo.key, todo.record.uid);
        let worker = ForwardWorker::new(self.world, uid).whose_rules_are_right(together);
        let Err(failed) = execute(&todo.plan(), &worker, self.reporter) else {
            let reason = match todo.before {
                None => "Created",
                Some(_) => "Configured",
            };
            note(self.world, key, uid, reason, &line(&todo.record));
            return Ok(todo.told());
        };
        match todo.before {
            Some(before) => Err(take_back(self.world, before, failed.error)),
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

/// What forwards there are, read once, when those of the run are locked.
struct Seen {
    records: BTreeMap<Name, ForwardRecord>,
    /// Those in the lists of instances.
    listed: BTreeMap<Name, PortForward>,
}

impl Seen {
    fn new(world: &World) -> Result<Self> {
        let (mut records, mut listed) = (BTreeMap::new(), BTreeMap::new());
        for forward in world.wanted_forwards()? {
            match &forward.origin {
                Origin::Alone(record) => {
                    records.insert(forward.name, (**record).clone());
                }
                Origin::Listed { .. } => {
                    listed.insert(forward.name.clone(), forward.object(None));
                }
            }
        }
        Ok(Self { records, listed })
    }
}

/// Takes the port of the host that is asked for, instead of what it has.
fn take(claims: &mut Claims, record: &mut ForwardRecord) -> Result<()> {
    let localhost = record.spec.localhost.unwrap_or(true);
    let who = format!("forward/{}", record.name);
    let had = claims.let_go(&who);
    let taken = claims.take(&who, &record.spec.mapping(), localhost);
    if taken.is_err() {
        had.iter().for_each(|ports| claims.keep(&who, ports));
    }
    record.host_port = taken?.host;
    Ok(())
}

/// A change that the firewall refused is no change.
fn take_back(world: &World, mut before: ForwardRecord, error: Error) -> Error {
    let uid = before.uid;
    let mut back = || {
        let _lock = world.store()?.lock(STORE_WAIT)?;
        before.begin(before.begun.unwrap_or(IntentOp::Update));
        Ok(world.store()?.put(&before)?)
    };
    match back().and_then(|()| ForwardWorker::new(world, uid).again()) {
        Ok(()) => error,
        Err(left) => error.caused_by(format!("could not take the change back: {left}")),
    }
}
