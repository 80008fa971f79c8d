//! What goes wrong for users, row by row: each input gets its own typed error, with the words that
//! tell what happened and what to do.

mod before_dialling;
mod logged;
mod network;
mod service;

use dps_core::{Error, ErrorKind};

/// Asserts the kind and that the whole text of the error holds these words.
#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}
