//! Keys, passphrases and tokens are looked for in everything that is said (logs, errors, `Debug`
//! output, the command's terminal) and in the memory of a process that has done with them.

mod command;
mod diagnostics;
mod flows;
mod memory;
mod needle;
mod world;
