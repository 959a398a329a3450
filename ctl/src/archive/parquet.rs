//! Balances as a Parquet file: the columns of the CSV file with their types.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use archive::Balance;
use ledger::Money;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::views::status;

/// Amounts are decimals of two places; times are microseconds since 1970 in UTC.
const SCHEMA: &str = "message balances {
    required binary walletId (UTF8);
    required binary status (UTF8);
    required int64 balance (DECIMAL(18,2));
    required int64 onHold (DECIMAL(18,2));
    required int64 inFlight (DECIMAL(18,2));
    required int32 openTransfers;
    required int64 blockNumber;
    required binary blockHash (UTF8);
    required int64 blockTime (TIMESTAMP(MICROS,true));
}";
/// Wallets of a row group: what a reader holds at once.
const GROUP_ROWS: usize = 100_000;

pub fn write(wallets: &[Balance], out: impl Write + Send) -> Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).build();
    let mut file = SerializedFileWriter::new(out, Arc::new(parse_message_type(SCHEMA)?), Arc::new(properties))?;
    for rows in wallets.chunks(GROUP_ROWS) {
        let mut group = file.next_row_group()?;
        column::<ByteArrayType>(&mut group, rows, |row| Ok(text(row.wallet.to_string())))?;
        column::<ByteArrayType>(&mut group, rows, |row| Ok(text(status(row.status))))?;
        column::<Int64Type>(&mut group, rows, |row| money(row.balance))?;
        column::<Int64Type>(&mut group, rows, |row| money(row.on_hold))?;
        column::<Int64Type>(&mut group, rows, |row| money(row.in_flight))?;
        column::<Int32Type>(&mut group, rows, |row| Ok(i32::try_from(row.open_transfers)?))?;
        column::<Int64Type>(&mut group, rows, |row| Ok(i64::try_from(row.block)?))?;
        column::<ByteArrayType>(&mut group, rows, |row| Ok(text(row.hash.to_string())))?;
        column::<Int64Type>(&mut group, rows, |row| Ok(row.at.micros()))?;
        group.close()?;
    }
    file.close()?;
    Ok(())
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    rows: &[Balance],
    value: impl Fn(&Balance) -> Result<T::T>,
) -> Result<()> {
    let mut column = group.next_column()?.expect("the schema has this column");
    let values = rows.iter().map(value).collect::<Result<Vec<_>>>()?;
    column.typed::<T>().write_batch(&values, None, None)?;
    Ok(column.close()?)
}

fn text(text: impl Into<String>) -> ByteArray {
    ByteArray::from(text.into().into_bytes())
}

fn money(money: Money) -> Result<i64> {
    Ok(i64::try_from(money.minor())?)
}

#[cfg(test)]
mod tests {
    use parquet::data_type::Decimal;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::*;
    use crate::archive::balances::tests::wallets;

    #[test]
    fn a_parquet_file_holds_what_was_written() {
        let (path, wallets) = (std::env::temp_dir().join(format!("balances-{}", std::process::id())), wallets(3));
        write(&wallets, std::fs::File::create(&path).expect("a file")).expect("it is written");
        let file = SerializedFileReader::new(std::fs::File::open(&path).expect("a file")).expect("it is whole");
        let rows: Vec<_> = file.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(rows.len(), 3);
        let columns: Vec<(&str, &Field)> =
            rows[2].get_column_iter().map(|(name, field)| (name.as_str(), field)).collect();
        let decimal = |minor| Field::Decimal(Decimal::from_i64(minor, 18, 2));
        let text = |text: String| Field::Str(text);
        let due = [
            ("walletId", text("00000000-0000-0000-0000-000000000002".to_owned())),
            ("status", text("FROZEN".to_owned())),
            ("balance", decimal(201)),
            ("onHold", decimal(1)),
            ("inFlight", decimal(2)),
            ("openTransfers", Field::Int(1)),
            ("blockNumber", Field::Long(2)),
            ("blockHash", text("07".repeat(32))),
            ("blockTime", Field::TimestampMicros(1_000_000)),
        ];
        assert_eq!(columns, due.iter().map(|(name, field)| (*name, field)).collect::<Vec<_>>());
    }
}
