//! Work on all processors: much of what is read is only signatures and hashes.

/// What becomes of each, in order.
pub fn each<T: Sync, U: Send>(all: &[T], act: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if all.len() < 4 * processors {
        return all.iter().map(act).collect();
    }
    let act = &act;
    std::thread::scope(|scope| {
        let shares = all.chunks(all.len().div_ceil(processors));
        let begun: Vec<_> = shares
            .map(|share| {
                let acting = scope.spawn(move || share.iter().map(act).collect::<Vec<_>>());
                (share, acting)
            })
            .collect();
        let done = begun.into_iter().flat_map(|(share, acting)| {
            let done = acting.join();
            done.unwrap_or_else(|_| share.iter().map(act).collect())
        });
        done.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_once_and_in_order() {
        for count in [0usize, 1, 7, 64, 1_000] {
            let all: Vec<usize> = (0..count).collect();
            let done = each(&all, |one| one * 2);
            assert_eq!(done, all.iter().map(|one| one * 2).collect::<Vec<_>>());
        }
    }
}
