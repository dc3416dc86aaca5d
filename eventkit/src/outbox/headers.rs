//! Headers as bytes of one column, in the format of a Kafka record (version 2):
//! a count, then name and value of each with their lengths, all as zigzag
//! varints; a null value has the length -1.

/// Collects headers.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    count: i64,
    body: Vec<u8>,
}

impl Encoder {
    pub(super) fn put(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.count += 1;
        write_bytes(&mut self.body, Some(name));
        write_bytes(&mut self.body, value);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(self.body.len() + 2);
        write_varint(&mut encoded, self.count);
        encoded.extend_from_slice(&self.body);
        encoded
    }
}

/// Visits the headers in order; `None` when the bytes are not headers.
pub(super) fn decode<'a>(
    mut bytes: &'a [u8],
    mut visit: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Option<()> {
    for _ in 0..read_varint(&mut bytes)? {
        let name = read_bytes(&mut bytes)??;
        visit(name, read_bytes(&mut bytes)?);
    }
    bytes.is_empty().then_some(())
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    write_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = read_varint(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let (head, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(head))
}

fn write_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn encode(pairs: &Pairs) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for (name, value) in pairs {
            encoder.put(name, value.as_deref());
        }
        encoder.finish()
    }

    #[test]
    fn is_the_format_of_a_kafka_record() {
        let pairs = vec![(b"a".to_vec(), Some(b"xy".to_vec())), (b"b".to_vec(), None)];
        assert_eq!(
            encode(&pairs),
            [4, 2, b'a', 4, b'x', b'y', 2, b'b', 1],
            "zigzag: 2 is 4, 1 is 2, -1 is 1"
        );
    }

    proptest! {
        #[test]
        fn gives_back_what_was_put_in(pairs: Pairs) {
            let mut read = Pairs::new();
            let encoded = encode(&pairs);
            let whole = decode(&encoded, |name, value| {
                read.push((name.to_vec(), value.map(<[u8]>::to_vec)));
            });
            prop_assert_eq!(whole, Some(()));
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn takes_any_bytes_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, |_, _| {});
        }
    }
}
