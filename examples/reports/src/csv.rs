//! Rows of any query as CSV (RFC 4180).

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column, Error, Row};

/// The names of the columns, then the rows. Without a row there are no names either.
pub async fn of(rows: impl Stream<Item = Result<SqliteRow, Error>>) -> Result<Bytes, Error> {
    let mut rows = std::pin::pin!(rows);
    let mut text = String::new();
    while let Some(row) = rows.try_next().await? {
        if text.is_empty() {
            line(&mut text, row.columns().iter().map(Column::name));
        }
        // SQLite gives each value as text, whatever its type.
        let values: Result<Vec<Option<&str>>, Error> =
            (0..row.len()).map(|column| row.try_get_unchecked(column)).collect();
        line(&mut text, values?.into_iter().map(Option::unwrap_or_default));
    }
    Ok(text.into())
}

fn line<'a>(text: &mut String, fields: impl Iterator<Item = &'a str>) {
    for (n, field) in fields.enumerate() {
        if n > 0 {
            text.push(',');
        }
        if field.contains(['"', ',', '\r', '\n']) {
            text.extend(["\"", &field.replace('"', "\"\""), "\""]);
        } else {
            text.push_str(field);
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        let mut text = String::new();
        line(&mut text, ["a", "b,c", "", "say \"no\"", "two\nlines"].into_iter());
        assert_eq!(text, "a,\"b,c\",,\"say \"\"no\"\"\",\"two\nlines\"\r\n");
    }
}
