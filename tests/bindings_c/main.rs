//! The C library, used by programs of C: what they do is in `programs/`, what surrounds them here.

mod chains;
mod library;
mod programs;
mod samples;
mod symbols;
mod world;
