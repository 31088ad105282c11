//! Exports files: any bytes are a table or a mistake with its place.
#![no_main]

use ggated::{ExportsError, check_exports};
use libfuzzer_sys::fuzz_target;
use std::io;

fuzz_target!(|input: &[u8]| {
    let resolve = |name: &str| match name.len() % 3 {
        0 => Err(io::ErrorKind::NotFound.into()),
        1 => Ok(vec![[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()]),
        _ => Ok(vec![[10, 0, 0, 1].into()]),
    };
    let lines = input.split(|byte| *byte == b'\n').count();
    match check_exports(input, &resolve) {
        Ok(count) => assert!((1..=lines).contains(&count)),
        Err(ExportsError::Empty) => {}
        Err(error @ ExportsError::Line { line, column, .. }) => {
            assert!((1..=lines).contains(&line));
            let text = input.split(|byte| *byte == b'\n').nth(line - 1).unwrap();
            assert!((1..=text.len() + 1).contains(&column));
            assert!(!error.to_string().chars().any(char::is_control));
        }
    }
});
