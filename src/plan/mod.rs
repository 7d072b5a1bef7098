//! Pure planning: desired and observed objects to ordered steps.
