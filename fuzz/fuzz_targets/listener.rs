#![no_main]

#[path = "../listener.rs"]
mod listener;

libfuzzer_sys::fuzz_target!(|data: &[u8]| listener::listener(data));
