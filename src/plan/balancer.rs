//! Steps of load balancers.

use crate::api::ObjectKey;

use super::{ObjectPlan, Outcome, Step as AnyStep};

/// One change of a load balancer. Every step is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes nginx serve what the record wants, and its targets reachable for it.
    Serve {
        /// What is listened on, as `*:80/tcp`.
        listen: Vec<String>,
        /// The targets, as `web1:8080`.
        targets: Vec<String>,
    },
    /// Makes nginx forget it.
    Withdraw,
    /// Lets go of what nothing needs any more, writes the record as it is from now on, and ends the
    /// intent.
    Finish,
    /// Removes the record, and the intent with it.
    Forget,
}

/// Plans the making or changing of a balancer whose record is written.
pub fn serve(
    key: ObjectKey,
    outcome: Outcome,
    listen: Vec<String>,
    targets: Vec<String>,
) -> ObjectPlan {
    let serve = Step::Serve { listen, targets };
    plan(key, outcome, [serve, Step::Finish])
}

/// Plans the deletion of a balancer, from any half-made state.
pub fn delete(key: ObjectKey) -> ObjectPlan {
    plan(key, Outcome::Deleted, [Step::Withdraw, Step::Forget])
}

fn plan<const N: usize>(key: ObjectKey, outcome: Outcome, steps: [Step; N]) -> ObjectPlan {
    let stages = steps.into_iter().map(|step| vec![AnyStep::Balancer(step)]);
    ObjectPlan {
        key,
        outcome,
        stages: stages.collect(),
        notes: Vec::new(),
    }
}

impl Step {
    /// Returns what the step does, in a line for a person.
    pub fn describe(&self) -> String {
        match self {
            Self::Serve { listen, targets } => {
                let targets = match targets.is_empty() {
                    true => "no target".to_owned(),
                    false => targets.join(", "),
                };
                format!("let nginx lead {} to {targets}", listen.join(" and "))
            }
            Self::Withdraw => "let nginx forget it".to_owned(),
            Self::Finish => "write the record".to_owned(),
            Self::Forget => "remove the record".to_owned(),
        }
    }
}
