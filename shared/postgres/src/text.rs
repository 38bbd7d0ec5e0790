//! Columns whose text is in an encoding that nobody knows.

use std::error::Error;

use holdfast_format::Text;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

/// A column's bytes as they came.
struct Bytes(Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(kind: &Type) -> bool {
        [Type::TEXT, Type::NAME, Type::VARCHAR, Type::BPCHAR, Type::BYTEA].contains(kind)
    }
}

/// The text of a column. Where there is none, it is empty.
///
/// # Errors
/// The driver's, if the column is no text.
pub fn text(row: &Row, column: usize) -> Result<Text, tokio_postgres::Error> {
    Ok(optional_text(row, column)?.unwrap_or_default())
}

/// The text of a column that may have none.
///
/// # Errors
/// The driver's, if the column is no text.
pub(crate) fn optional_text(row: &Row, column: usize) -> Result<Option<Text>, tokio_postgres::Error> {
    let bytes: Option<Bytes> = row.try_get(column)?;
    Ok(bytes.map(|bytes| Text::from(bytes.0)))
}
