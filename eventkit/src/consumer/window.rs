use std::collections::VecDeque;

/// A record's number in its partition's window: dense, in order of arrival,
/// whatever gaps the offsets have.
pub(crate) type Seq = u64;

/// Which received offsets are settled, and how far the partition may commit.
///
/// Only offsets that were received count, so what compaction, transactions and
/// retention took away is no obstacle. The commit position is always the *next*
/// offset to read: behind the last settled one, or the first one not settled.
///
/// Cost: a few bytes for each record between the oldest unsettled one and the
/// newest; settling is amortised O(1).
#[derive(Debug, Default)]
pub(crate) struct Window {
    first: Seq,
    slots: VecDeque<Slot>,
    next: Option<i64>,
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    /// Deliveries that are not settled yet.
    open: u32,
}

impl Window {
    /// Takes in a received offset with its number of deliveries.
    pub(crate) fn push(&mut self, offset: i64, deliveries: usize) -> Seq {
        let seq = self.first + self.slots.len() as Seq;
        self.slots.push_back(Slot {
            offset,
            open: deliveries as u32,
        });
        self.advance();
        seq
    }

    /// One delivery of the record is settled; `true` when it was the last.
    pub(crate) fn settle(&mut self, seq: Seq) -> bool {
        let Some(slot) = seq
            .checked_sub(self.first)
            .and_then(|index| self.slots.get_mut(index as usize))
        else {
            return false;
        };
        let last = slot.open == 1;
        slot.open = slot.open.saturating_sub(1);
        self.advance();
        last
    }

    /// The next offset to read if the partition moved away now; `None` until
    /// something is settled.
    pub(crate) fn next_offset(&self) -> Option<i64> {
        self.next
    }

    /// Records from the oldest unsettled one to the newest.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn advance(&mut self) {
        while let Some(slot) = self.slots.front()
            && slot.open == 0
        {
            self.next = Some(slot.offset + 1);
            self.slots.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the window should say, told naively.
    fn model(received: &[(i64, usize)], settled: &[usize]) -> Option<i64> {
        let mut next = None;
        for ((offset, deliveries), settled) in received.iter().zip(settled) {
            if settled < deliveries {
                break;
            }
            next = Some(offset + 1);
        }
        next
    }

    proptest! {
        #[test]
        fn never_passes_what_is_in_flight_and_never_goes_back(
            gaps in proptest::collection::vec((1i64..5, 0usize..4), 1..60),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..200),
            late in 0usize..60,
        ) {
            let mut offset = 0;
            let received: Vec<(i64, usize)> = gaps
                .iter()
                .map(|(gap, deliveries)| { offset += gap; (offset, *deliveries) })
                .collect();
            let mut window = Window::default();
            let mut seqs = Vec::new();
            let mut settled = vec![0; received.len()];
            let mut before = None;
            // Some arrive only after others were settled.
            let late = late.min(received.len() - 1);
            for (offset, deliveries) in &received[..=late] {
                seqs.push(window.push(*offset, *deliveries));
            }
            for (step, pick) in order.iter().enumerate() {
                if step == 20 {
                    for (offset, deliveries) in &received[late + 1..] {
                        seqs.push(window.push(*offset, *deliveries));
                    }
                }
                let index = pick.index(seqs.len());
                if settled[index] < received[index].1 {
                    settled[index] += 1;
                    let last = window.settle(seqs[index]);
                    prop_assert_eq!(last, settled[index] == received[index].1);
                }
                let next = window.next_offset();
                prop_assert_eq!(next, model(&received[..seqs.len()], &settled));
                prop_assert!(next >= before);
                before = next;
            }
        }
    }

    #[test]
    fn a_settlement_from_before_is_ignored() {
        let mut window = Window::default();
        let seq = window.push(7, 1);
        assert!(window.settle(seq));
        assert!(!window.settle(seq));
        assert_eq!(window.next_offset(), Some(8));
        assert!(!window.settle(99));
    }
}
