//! What tells of gates: GEOM's XML, and the records and answers of other
//! processes that serve gates in software.
#![no_main]

use ggate::gate::list::parse_confxml;
use ggate::gate::software::is_intelligible;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    match parse_confxml(input) {
        Ok(gates) => gates.iter().for_each(|gate| {
            let _ = gate.long().to_string();
        }),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let _ = is_intelligible(input);
});
