//! What goes into a seed, and what a guest says of itself.
