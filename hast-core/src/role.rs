//! Roles, and which of two nodes holds the data to copy.

use core::fmt;

/// What a node is for a resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Nothing: where every resource starts.
    Init,
    /// Serves the provider.
    Primary,
    /// Keeps the copy.
    Secondary,
}

impl Role {
    /// All roles, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Init, Self::Primary, Self::Secondary];

    /// The number in control requests.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Init => 1,
            Self::Primary => 2,
            Self::Secondary => 3,
        }
    }

    /// The role with this number.
    #[must_use]
    pub fn from_byte(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.to_byte() == n)
    }

    /// The name on disk, in replies and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.name().as_bytes() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The node whose data is copied to the other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SyncSource {
    /// From the primary to the secondary.
    Primary,
    /// From the secondary to the primary; reads go to the secondary.
    Secondary,
}

impl SyncSource {
    /// The value of the `syncsrc` entry.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Primary => 1,
            Self::Secondary => 2,
        }
    }

    /// `None` for everything else, 0 (undefined) included.
    #[must_use]
    pub const fn from_byte(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Primary),
            2 => Some(Self::Secondary),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_go_both_ways() {
        for role in Role::ALL {
            assert_eq!(Role::from_byte(role.to_byte()), Some(role));
            assert_eq!(Role::from_name(role.name().as_bytes()), Some(role));
        }
        assert_eq!(Role::from_byte(0), None);
        assert_eq!(Role::from_byte(4), None);
        assert_eq!(Role::from_name(b"Primary"), None);
        for n in 0..=u8::MAX {
            assert_eq!(
                SyncSource::from_byte(n).is_some_and(|s| s.to_byte() == n),
                (1..=2).contains(&n)
            );
        }
    }
}
