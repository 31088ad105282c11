//! Bytes and choices that look random and are the same in every run.

/// A generator (xorshift64*) that starts from a seed.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// The noise of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.next() >> 32) % limit as u64).unwrap_or(0)
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    /// What becomes of a message on its way: a few bytes changed, cut short,
    /// followed by noise, or repeated.
    pub fn spoil(&mut self, message: &[u8]) -> Vec<u8> {
        let mut spoilt = message.to_vec();
        match self.below(4) {
            0 => {
                for _ in 0..=self.below(4) {
                    let at = self.below(spoilt.len());
                    spoilt[at] = self.next().to_be_bytes()[0];
                }
            }
            1 => spoilt.truncate(self.below(message.len())),
            2 => {
                let length = self.below(5000);
                spoilt.extend(self.bytes(length));
            }
            _ => spoilt.extend_from_slice(message),
        }
        spoilt
    }
}
