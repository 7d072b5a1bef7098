//! Sizes for people: three digits or so and a binary unit.

use crate::api::Quantity;

const UNITS: [(u64, &str); 4] = [
    (1 << 40, "Ti"),
    (1 << 30, "Gi"),
    (1 << 20, "Mi"),
    (1 << 10, "Ki"),
];

/// Returns a size for a table: exact where that is short (`10Gi`, `1536Mi`), else rounded (`467Mi`).
pub fn size(quantity: Quantity) -> String {
    let exact = quantity.to_string();
    if exact.len() <= 6 && exact.ends_with('i') {
        return exact;
    }
    bytes(quantity.bytes())
}

/// Returns a number of bytes, rounded: `0B`, `712B`, `1.5Ki`, `467Mi`, `12.3Gi`.
pub fn bytes(bytes: u64) -> String {
    let Some((factor, unit)) = UNITS.into_iter().find(|(factor, _)| bytes >= *factor) else {
        return format!("{bytes}B");
    };
    // u128: ten times the largest u64 would not fit.
    let tenths = u128::from(bytes) * 10 / u128::from(factor);
    if tenths >= 1000 || tenths.is_multiple_of(10) {
        format!("{}{unit}", tenths / 10)
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let of = |n| size(Quantity::from_bytes(n).unwrap());
        assert_eq!(of(10 << 30), "10Gi");
        assert_eq!(of(1536 << 20), "1536Mi");
        assert_eq!(of(490_123_456), "467Mi");
        assert_eq!(of(13_207_024_436), "12.3Gi");
        assert_eq!(of(u64::MAX), "16777215Ti");
        assert_eq!(bytes(0), "0B");
        assert_eq!(bytes(712), "712B");
        assert_eq!(bytes(1537), "1.5Ki");
    }
}
