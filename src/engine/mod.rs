//! Runs a plan: undo on failure, go on with the rest, wait.
