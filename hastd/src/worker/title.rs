//! What ps(1) shows of a worker. Base's fail-over scripts wait for the title
//! of a connected secondary to vanish.

/// What a worker is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Title {
    /// Serves the provider.
    Primary,
    /// Has a primary.
    Secondary,
    /// Waits for one.
    SecondaryIdle,
}

impl Title {
    /// The title of a resource's worker.
    #[must_use]
    pub fn of(self, resource: &str) -> String {
        let role = match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::SecondaryIdle => "secondary idle",
        };
        format!("hastd: {resource} ({role})")
    }
}

/// Whether these are the arguments of a worker: its title and nothing else.
pub fn is_worker(mut args: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let title = args.next();
    title.is_some_and(|title| title.as_encoded_bytes().starts_with(b"hastd: "))
        && args.next().is_none()
}

/// Where the title can be changed; made before privileges are given up.
#[derive(Debug)]
pub(super) struct Place {
    #[cfg(not(target_os = "freebsd"))]
    arguments: Option<(usize, usize)>,
}

#[cfg(target_os = "freebsd")]
impl Place {
    pub(super) fn find() -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "elsewhere the place must be known")]
    pub(super) fn set(&self, title: &str) {
        let Ok(title) = std::ffi::CString::new(title) else {
            return;
        };
        // SAFETY: both are strings that end with NUL; `-` leaves out the
        // program's name.
        #[allow(unsafe_code)]
        unsafe {
            libc::setproctitle(c"-%s".as_ptr(), title.as_ptr());
        }
    }
}

#[cfg(not(target_os = "freebsd"))]
impl Place {
    /// Where the kernel finds the arguments, for ps: fields 48 and 49 of
    /// proc(5)'s stat.
    pub(super) fn find() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field may have blanks and parentheses.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_ascii_whitespace().skip(45);
        let mut next = || fields.next()?.parse().ok();
        let (begin, end) = (next(), next());
        Self {
            arguments: begin.zip(end).filter(|(begin, end)| begin < end),
        }
    }

    /// Writes over the arguments; a title longer than they were is cut.
    pub(super) fn set(&self, title: &str) {
        let Some((begin, end)) = self.arguments else {
            return;
        };
        let room = end - begin;
        let mut bytes = title.as_bytes()[..title.len().min(room - 1)].to_vec();
        bytes.resize(room, 0);
        // SAFETY: the kernel keeps this process's arguments there, in writable
        // memory of that length; a worker has read them when it began and
        // nobody looks at them again.
        #[allow(unsafe_code)]
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                std::ptr::with_exposed_provenance_mut(begin),
                room,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_those_that_scripts_look_for() {
        assert_eq!(Title::Primary.of("data"), "hastd: data (primary)");
        assert_eq!(Title::Secondary.of("data"), "hastd: data (secondary)");
        assert_eq!(
            Title::SecondaryIdle.of("data"),
            "hastd: data (secondary idle)"
        );
    }

    #[test]
    fn only_a_title_alone_makes_a_worker() {
        let args = |args: &[&str]| is_worker(args.iter().map(Into::into));
        assert!(args(&["hastd: data (primary)"]));
        assert!(!args(&["hastd"]));
        assert!(!args(&["/sbin/hastd", "-F"]));
        assert!(!args(&["hastd: data (primary)", "-F"]));
    }
}
