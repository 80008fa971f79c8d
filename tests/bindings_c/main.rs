//! The C library, used by programs of C: what they do is in `programs/`, what surrounds them here.

mod chains;
mod forms;
mod library;
mod nulls;
mod programs;
mod samples;
mod small;
mod symbols;
mod world;
