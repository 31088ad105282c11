//! The info text of a gate, as both gates keep it.
//!
//! The kernel copies the text into `kern.geom.confxml` as it is, so a `<` or
//! `&` in it makes the tree ill-formed for every GEOM tool on the machine
//! while the gate exists (spec/geom-gate-kernel.md 4.1). It is therefore
//! escaped before CREATE and MODIFY; whoever parses the tree sees the text
//! itself. The software gate keeps what such a reader would see.

/// Bytes of info text that the kernel keeps; its field has one more for the
/// NUL.
pub const MAX_INFO: usize = 2047;

/// The text as it is given to the kernel: XML character data of at most
/// [`MAX_INFO`] bytes, cut between characters and never inside an entity.
#[must_use]
pub fn escaped(text: &str) -> String {
    kept(text).fold(String::new(), |mut out, c| {
        match entity(c) {
            Some(entity) => out.push_str(entity),
            None => out.push(c),
        }
        out
    })
}

/// The text as `list` shows it: what is left of it after [`escaped`] and a
/// reader of the XML.
#[must_use]
pub fn visible(text: &str) -> String {
    kept(text).collect()
}

/// The characters that fit, with those that XML cannot carry, or that would
/// break a line of `list`, replaced.
fn kept(text: &str) -> impl Iterator<Item = char> {
    let mut room = MAX_INFO;
    text.chars()
        .map(|c| match c {
            c if c.is_control() => '?',
            '\u{fffe}' | '\u{ffff}' => '?',
            c => c,
        })
        .take_while(move |&c| {
            let needed = entity(c).map_or(c.len_utf8(), str::len);
            let fits = needed <= room;
            room = room.saturating_sub(needed);
            fits
        })
}

/// The entity for a character that XML would take for markup.
fn entity(c: char) -> Option<&'static str> {
    match c {
        '<' => Some("&lt;"),
        // Only `]]>` must be escaped; always doing it is simpler to check.
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ordinary_text_stays_as_it_is() {
        let text = "127.0.0.1:3080 /dev/md0";
        assert_eq!(escaped(text), text);
        assert_eq!(visible(text), text);
    }

    #[test]
    fn markup_is_escaped_for_the_kernel_and_visible_to_people() {
        assert_eq!(escaped("a<b>&c"), "a&lt;b&gt;&amp;c");
        assert_eq!(visible("a<b>&c"), "a<b>&c");
    }

    #[test]
    fn characters_that_xml_cannot_carry_are_replaced() {
        assert_eq!(escaped("a\0b\nc\u{1b}d\u{ffff}e"), "a?b?c?d?e");
    }

    #[test]
    fn the_cut_is_between_characters_and_entities() {
        let filled = "x".repeat(MAX_INFO - 3);
        assert_eq!(escaped(&format!("{filled}€")).len(), MAX_INFO);
        assert_eq!(escaped(&format!("{filled}x€")).len(), MAX_INFO - 2);
        assert_eq!(escaped(&format!("{filled}&x")), filled);
        // Nothing behind the first character that does not fit is kept.
        assert_eq!(visible(&format!("{filled}&x")), filled);
    }

    proptest! {
        #[test]
        fn a_reader_of_the_xml_sees_the_visible_text(text in any::<String>(), repeat in 1usize..200) {
            let text = text.repeat(repeat);
            let kernel = escaped(&text);
            prop_assert!(kernel.len() <= MAX_INFO);
            let xml = format!("<info>{kernel}</info>");
            let document = roxmltree::Document::parse(&xml).unwrap();
            prop_assert_eq!(
                document.root_element().text().unwrap_or_default(),
                visible(&text)
            );
        }
    }
}
