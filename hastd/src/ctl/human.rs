//! Sizes, times and sentences for people.

use std::fmt::Display;

/// A size as `humanize_number(3)` writes it for hastctl: at most four
/// characters, powers of 1024, a decimal where it fits, then `B`.
/// Facts: spec/hast-behaviour.md section 11.4.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let (mut quotient, mut remainder, mut unit) = (bytes, 0, 0);
    while quotient > 999 || quotient == 999 && remainder >= 512 {
        remainder = quotient % 1024;
        quotient /= 1024;
        unit += 1;
    }
    let unit_text = UNITS[unit];
    if unit > 0 && (quotient < 9 || quotient == 9 && remainder < 973) {
        let tenths = (remainder * 10 + 512) / 1024;
        let (whole, tenth) = (quotient + tenths / 10, tenths % 10);
        return format!("{whole}.{tenth}{unit_text}B");
    }
    let rounded = quotient + (remainder + 512) / 1024;
    format!("{rounded}{unit_text}B")
}

/// A length of time in its two largest units.
pub(super) fn duration(seconds: u64) -> String {
    let parts = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let significant = parts.iter().skip_while(|(number, _)| *number == 0).take(2);
    let words: Vec<String> = significant
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if words.is_empty() {
        return "0 s".into();
    }
    words.join(" ")
}

/// An error as a sentence: some end with a question already.
pub(super) fn sentence(error: &impl Display) -> String {
    let mut text = error.to_string();
    if !text.ends_with(['.', '?', '!']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_base_s() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (512, "512B"),
            (999, "999B"),
            (1000, "1.0KB"),
            (1023, "1.0KB"),
            (1024, "1.0KB"),
            (1536, "1.5KB"),
            (4608, "4.5KB"),
            (10239, "10KB"),
            (10240, "10KB"),
            (131_072, "128KB"),
            (2 << 20, "2.0MB"),
            (16_772_608, "16MB"),
            (67_104_256, "64MB"),
            (1 << 30, "1.0GB"),
            (1 << 40, "1.0TB"),
            (u64::MAX, "16EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_sentence_ends_once() {
        assert_eq!(sentence(&"no such file"), "no such file.");
        assert_eq!(sentence(&"is hastd serving it?"), "is hastd serving it?");
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (90000, "1 d 1 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
