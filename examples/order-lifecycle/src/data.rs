//! The input: 6,919 real purchases at an online CD shop. See `data/README.md`.

use std::collections::HashMap;

use anyhow::Context;

const FILE: &str = include_str!("../data/cdnow_sample.txt");

/// One purchase of the file.
#[derive(Debug, Clone)]
pub(crate) struct Purchase {
    pub(crate) customer: u32,
    /// Which purchase of this customer it is, from 1.
    pub(crate) nth: u32,
    /// `yyyymmdd`.
    pub(crate) date: u32,
    pub(crate) units: u32,
    pub(crate) cents: u64,
}

/// The purchases as the shop saw them: by date, each customer's in order. Past
/// the end of the file they come again.
pub(crate) fn purchases(count: Option<usize>) -> anyhow::Result<Vec<Purchase>> {
    let mut file = FILE
        .lines()
        .enumerate()
        .map(|(index, line)| {
            parse(line).with_context(|| format!("cdnow_sample.txt, line {}: {line:?}", index + 1))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Stable: what a customer bought on one day stays in the file's order.
    file.sort_by_key(|purchase| purchase.date);
    let count = count.unwrap_or(file.len());
    let mut purchases: Vec<Purchase> = file.iter().cycle().take(count).cloned().collect();
    let mut bought: HashMap<u32, u32> = HashMap::new();
    for purchase in &mut purchases {
        let nth = bought.entry(purchase.customer).or_default();
        *nth += 1;
        purchase.nth = *nth;
    }
    Ok(purchases)
}

/// A little less than what is asked for, so that the last ones find the shelf empty.
pub(crate) fn units_at_start(purchases: &[Purchase]) -> u32 {
    let asked: u64 = purchases.iter().map(|p| u64::from(p.units)).sum();
    u32::try_from(asked * 93 / 100).unwrap_or(u32::MAX)
}

fn parse(line: &str) -> anyhow::Result<Purchase> {
    let mut columns = line.split_whitespace();
    let mut column = |name| columns.next().with_context(|| format!("no {name}"));
    column("customer id in the whole set")?;
    Ok(Purchase {
        customer: column("customer id")?.parse()?,
        nth: 0,
        date: column("date")?.parse()?,
        units: column("number of CDs")?.parse()?,
        cents: cents(column("amount")?)?,
    })
}

/// `29.33` is 2933, digit by digit: money is never a floating-point number.
fn cents(amount: &str) -> anyhow::Result<u64> {
    let (dollars, cents) = amount.split_once('.').context("no decimal point")?;
    anyhow::ensure!(cents.len() == 2, "not two decimals");
    Ok(dollars.parse::<u64>()? * 100 + cents.parse::<u64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_file_is_read_to_the_cent() {
        let purchases = purchases(None).expect("the file is sound");
        assert_eq!(purchases.len(), 6919);
        assert_eq!(purchases.iter().map(|p| p.units).sum::<u32>(), 16_479);
        assert_eq!(cents("29.33").ok(), Some(2933));
        assert!(cents("29.3").is_err());
    }

    #[test]
    fn a_customers_purchases_are_numbered_by_date() {
        let mut last: HashMap<u32, (u32, u32)> = HashMap::new();
        for purchase in purchases(None).expect("the file is sound") {
            let (nth, date) = last.entry(purchase.customer).or_default();
            assert_eq!(purchase.nth, *nth + 1);
            assert!(purchase.date >= *date);
            (*nth, *date) = (purchase.nth, purchase.date);
        }
    }
}
