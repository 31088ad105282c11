//! The serve loop above both gates.
