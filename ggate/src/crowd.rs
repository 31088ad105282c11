//! Strangers that are let in for a while: bounded in number, in their share
//! per address, and in time.
//!
//! Handshakes, and sessions that are half open, wait in one of these each. When the place
//! is taken, the oldest goes: of the same address if that has its share
//! already, of all otherwise. A flood from one address can thus throw out only
//! its own.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Names an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id(u64);

/// Entries in order of arrival.
#[derive(Debug)]
pub struct Crowd<V> {
    entries: VecDeque<Entry<V>>,
    limit: usize,
    per_address: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry<V> {
    id: Id,
    address: IpAddr,
    since: Instant,
    value: V,
}

impl<V> Crowd<V> {
    /// At most `limit` entries, at most `per_address` from one address.
    #[must_use]
    pub fn new(limit: usize, per_address: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            limit,
            per_address,
            next: 0,
        }
    }

    /// Lets one in; also gives the one that had to go.
    pub fn insert(&mut self, client: IpAddr, now: Instant, value: V) -> (Id, Option<V>) {
        let address = share(client);
        let of_same = |entry: &Entry<V>| entry.address == address;
        let full_share = self.entries.iter().filter(|e| of_same(e)).count() >= self.per_address;
        let victim = match self.entries.iter().position(of_same) {
            Some(oldest) if full_share => self.entries.remove(oldest),
            _ if self.entries.len() >= self.limit => self.entries.pop_front(),
            _ => None,
        };
        let id = Id(self.next);
        self.next += 1;
        self.entries.push_back(Entry {
            id,
            address,
            since: now,
            value,
        });
        (id, victim.map(|entry| entry.value))
    }

    /// Takes one out, unless it is out already.
    pub fn remove(&mut self, id: Id) -> Option<V> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(index).map(|entry| entry.value)
    }

    /// Takes out the first one that satisfies `fits`.
    pub fn take(&mut self, fits: impl Fn(&V) -> bool) -> Option<V> {
        let index = self.entries.iter().position(|entry| fits(&entry.value))?;
        self.entries.remove(index).map(|entry| entry.value)
    }

    /// Takes out those that are `age` old.
    pub fn expire(&mut self, now: Instant, age: Duration) -> Vec<V> {
        let old = |entry: &&Entry<V>| now.saturating_duration_since(entry.since) >= age;
        let count = self.entries.iter().take_while(old).count();
        self.entries.drain(..count).map(|e| e.value).collect()
    }

    /// Empties it.
    pub fn drain(&mut self) -> Vec<V> {
        self.entries.drain(..).map(|e| e.value).collect()
    }

    /// Everybody, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.entries.iter().map(|entry| (entry.id, &entry.value))
    }

    /// One of them, unless it is out already.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut V> {
        let entry = self.entries.iter_mut().find(|entry| entry.id == id)?;
        Some(&mut entry.value)
    }

    /// Since when the oldest is here.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.since)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whose share an address counts to: who has one IPv6 address has 2^64.
fn share(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_from_one_address_throws_out_its_own() {
        let now = Instant::now();
        let mut crowd = Crowd::new(4, 2);
        assert_eq!(crowd.insert(ip("10.0.0.1"), now, 'a').1, None);
        for (value, victim) in [('b', None), ('c', None), ('d', Some('b')), ('e', Some('c'))] {
            assert_eq!(crowd.insert(ip("10.0.0.2"), now, value).1, victim);
        }
        assert_eq!(crowd.len(), 3);
    }

    #[test]
    fn when_all_is_taken_the_oldest_goes() {
        let now = Instant::now();
        let mut crowd = Crowd::new(2, 2);
        crowd.insert(ip("10.0.0.1"), now, 'a');
        crowd.insert(ip("10.0.0.2"), now, 'b');
        assert_eq!(crowd.insert(ip("10.0.0.3"), now, 'c').1, Some('a'));
    }

    #[test]
    fn an_ipv6_network_has_one_share() {
        let now = Instant::now();
        let mut crowd = Crowd::new(9, 1);
        crowd.insert(ip("2001:db8::1"), now, 'a');
        assert_eq!(crowd.insert(ip("2001:db8::ffff"), now, 'b').1, Some('a'));
        assert_eq!(crowd.insert(ip("2001:db8:0:1::1"), now, 'c').1, None);
        crowd.insert(ip("::ffff:10.0.0.1"), now, 'd');
        assert_eq!(crowd.insert(ip("10.0.0.1"), now, 'e').1, Some('d'));
    }

    #[test]
    fn the_old_ones_expire() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut crowd = Crowd::new(9, 9);
        let (first, _) = crowd.insert(ip("10.0.0.1"), begin, 'a');
        crowd.insert(ip("10.0.0.1"), begin + 2 * second, 'b');
        assert_eq!(crowd.expire(begin + second, 2 * second), []);
        assert_eq!(crowd.expire(begin + 2 * second, 2 * second), ['a']);
        assert_eq!(crowd.remove(first), None);
        assert_eq!(crowd.take(|v| *v == 'b'), Some('b'));
    }
}
