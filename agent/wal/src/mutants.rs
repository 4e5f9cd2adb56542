//! Deliberate mistakes, one at a time, to prove that the model finds them. Outside the crate's own tests none of them exists.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A new segment's name is not made durable.
    SkipDirectorySync,
    /// Appends are answered as durable before the sync.
    AnswerBeforeSync,
    /// Two records of a segment are sealed under one nonce.
    ReuseNonce,
    /// Opening leaves what lies behind the last good record where it is.
    ForgetTornTail,
    /// Opening shows records to consumers that are not known to be durable, and does not make them so.
    BelieveUnsynced,
    /// A segment is deleted when the cursors that passed it are not durable.
    UnlinkBeforeCursor,
    /// A sync that failed is tried again on the same file.
    RetryFailedSync,
}

#[cfg(not(test))]
pub(crate) const fn is_on(_mutant: Mutant) -> bool {
    false
}

#[cfg(test)]
std::thread_local! {
    static ON: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn is_on(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}

#[cfg(test)]
impl Mutant {
    pub(crate) const ALL: [Self; 7] = [
        Self::SkipDirectorySync,
        Self::AnswerBeforeSync,
        Self::ReuseNonce,
        Self::ForgetTornTail,
        Self::BelieveUnsynced,
        Self::UnlinkBeforeCursor,
        Self::RetryFailedSync,
    ];

    /// Runs something with this mistake in it; on this thread only.
    pub(crate) fn within<T>(self, run: impl FnOnce() -> T) -> T {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(None);
            }
        }
        ON.set(Some(self));
        let _off = Off;
        run()
    }
}
