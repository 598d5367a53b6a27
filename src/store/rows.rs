//! Rows that a door or a hook of the node keeps in its store: what it has made of the inbox for tools that ask
//! in their own way (`taxii/`), and what tools did not take (`hook/`). The store gives them no meaning.

use bytes::Bytes;

use super::error::StoreError;
use super::node::NodeStore;

/// Key and value of one row.
pub(super) type Row = (Vec<u8>, Bytes);

impl NodeStore {
    /// Puts and removes rows, all of them with one sync.
    pub fn keep_rows(
        &self,
        put: &[(Vec<u8>, Vec<u8>)],
        gone: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let bytes = put.iter().map(|(key, value)| key.len() + value.len());
        self.directory.check_room(bytes.sum::<usize>() as u64)?;
        self.write(|_, batch| {
            for key in gone {
                batch.remove(&self.rows, key.as_slice());
            }
            for (key, value) in put {
                batch.insert(&self.rows, key.as_slice(), value.as_slice());
            }
            Ok(())
        })
    }

    /// A row.
    pub fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.rows.get(key)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Up to `limit` rows whose keys begin with `prefix` and stand after `after`, by their keys.
    pub fn rows(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        let mut from = after.to_vec();
        from.push(0);
        let from = if after.is_empty() || after < prefix {
            prefix.to_vec()
        } else {
            from
        };
        for one in self.rows.range(from..).take(limit) {
            let (key, value) = one.into_inner()?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.to_vec(), Bytes::copy_from_slice(&value)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_prefix_in_pages_and_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let row = |key: &str| (key.as_bytes().to_vec(), key.to_uppercase().into_bytes());
        let store = NodeStore::open(directory.path()).unwrap();
        store
            .keep_rows(&[row("a/1"), row("a/2"), row("b/1"), row("a/3")], &[])
            .unwrap();
        store.keep_rows(&[row("b/2")], &[b"b/1".to_vec()]).unwrap();
        drop(store);
        let store = NodeStore::open(directory.path()).unwrap();
        let keys = |prefix: &str, after: &str, limit| {
            let rows = store.rows(prefix.as_bytes(), after.as_bytes(), limit);
            let keys = rows.unwrap().into_iter().map(|(key, _)| key);
            keys.map(|key| String::from_utf8(key).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(keys("a/", "", 9), ["a/1", "a/2", "a/3"]);
        assert_eq!(keys("a/", "a/1", 1), ["a/2"]);
        assert_eq!(keys("b/", "a/3", 9), ["b/2"]);
        assert_eq!(keys("c/", "", 9), [""; 0]);
        assert_eq!(store.row(b"a/1").unwrap().unwrap(), "A/1");
        assert_eq!(store.row(b"b/1").unwrap(), None);
    }
}
