//! Text to objects, with positions: what a person writes becomes what the planner reads.
