#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each target runs one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::machines::registration(data));
