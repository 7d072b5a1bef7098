//! Thin: parse, call one operation, print. The only user of clap and dialoguer.
