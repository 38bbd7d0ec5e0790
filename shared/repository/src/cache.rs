//! Keeps records in memory, up to a bound.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Bytes that an entry costs beyond its value.
const OVERHEAD: u64 = 512;

/// The most recently used values whose weights together stay under a limit.
pub(crate) struct Cache<K, V> {
    limit: u64,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    by_key: HashMap<K, (V, u64, u64)>,
    /// Keys by the order of their last use.
    by_use: BTreeMap<u64, K>,
    clock: u64,
    weight: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Makes a cache for values of `limit` bytes altogether.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            entries: Mutex::new(Entries {
                by_key: HashMap::new(),
                by_use: BTreeMap::new(),
                clock: 0,
                weight: 0,
            }),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, weight) = entries.remove(key)?;
        entries.add(key.clone(), value.clone(), weight);
        Some(value)
    }

    /// Keeps a value of `bytes`, unless it alone would fill half of the cache.
    pub(crate) fn insert(&self, key: K, value: V, bytes: u64) {
        let weight = bytes + OVERHEAD;
        if weight > self.limit / 2 {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&key);
        entries.add(key, value, weight);
        while entries.weight > self.limit {
            let Some((_, oldest)) = entries.by_use.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            entries.remove(&oldest);
        }
    }
}

impl<K: Clone + Eq + Hash, V> Entries<K, V> {
    fn remove(&mut self, key: &K) -> Option<(V, u64)> {
        let (value, weight, used) = self.by_key.remove(key)?;
        self.by_use.remove(&used);
        self.weight -= weight;
        Some((value, weight))
    }

    fn add(&mut self, key: K, value: V, weight: u64) {
        self.clock += 1;
        self.weight += weight;
        self.by_use.insert(self.clock, key.clone());
        self.by_key.insert(key, (value, weight, self.clock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let cache = Cache::new(3 * (1000 + OVERHEAD));
        for key in 0..3 {
            cache.insert(key, key * 10, 1000);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.insert(3, 30, 1000);
        let kept: Vec<Option<i32>> = (0..4).map(|key| cache.get(&key)).collect();
        assert_eq!(kept, [Some(0), None, Some(20), Some(30)]);
    }

    #[test]
    fn nothing_fills_it_alone_and_weights_are_replaced() {
        let cache = Cache::new(10_000);
        cache.insert("huge", 1, 9000);
        assert_eq!(cache.get(&"huge"), None);
        for n in 0..100 {
            cache.insert("same", n, 4000);
        }
        cache.insert("other", 5, 4000);
        assert_eq!((cache.get(&"same"), cache.get(&"other")), (Some(99), Some(5)));
    }
}
