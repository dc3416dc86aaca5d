//! Durations as users write them, `"100ms"`, read while the program compiles.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;

/// Reads one duration, longer than zero.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text.trim()).map_err(|_| {
        format!(
            "`{text}` is not a duration: write a number and its unit, as in `\"100ms\"`, \
             `\"5s\"`, `\"10m\"`, `\"12h\"` or `\"7d\"`"
        )
    })?;
    if duration.is_zero() {
        return Err("this has to be longer than zero".to_owned());
    }
    Ok(duration)
}

/// Reads the shortest and the longest wait: `"100ms..10s"`.
pub(crate) fn parse_range(text: &str) -> Result<(Duration, Duration), String> {
    let Some((shortest, longest)) = text.split_once("..") else {
        return Err(format!(
            "`{text}` is not a range: write the shortest and the longest wait, as in `\"100ms..10s\"`"
        ));
    };
    let (min, max) = (parse(shortest)?, parse(longest)?);
    if min > max {
        let (shortest, longest) = (shortest.trim(), longest.trim());
        return Err(format!(
            "the shortest wait comes first: write `\"{longest}..{shortest}\"`"
        ));
    }
    Ok((min, max))
}

/// The duration as a constant.
pub(crate) fn tokens(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units_and_ranges() {
        assert_eq!(parse("7d"), Ok(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(
            parse_range("100ms .. 10s"),
            Ok((Duration::from_millis(100), Duration::from_secs(10)))
        );
        assert_eq!(
            parse_range("1s..1s"),
            Ok((Duration::from_secs(1), Duration::from_secs(1)))
        );
    }

    #[test]
    fn refuses_what_is_none() {
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "5 parsecs",
            "0s",
            "0ms",
            "99999999999999999999y",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "1s",
            "..",
            "1s..",
            "..1s",
            "10s..1s",
            "0s..1s",
            "1s..2s..3s",
        ] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
