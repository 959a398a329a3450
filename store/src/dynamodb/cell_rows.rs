//! Rows of the cell itself. They stand beside the snapshots, under partition keys that are no wallet's.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use super::{DynamoStore, errors, items};
use crate::{CellRow, MAX_CELL_ROW_BYTES, StoreError};

fn partition(list: &str) -> String {
    format!("cell#{list}")
}

impl DynamoStore {
    pub(super) async fn read_cell_row(&self, list: &str, key: &str) -> Result<Option<CellRow>, StoreError> {
        let item = self.get(&self.snapshots, items::cell_row_key(&partition(list), key)).await?;
        item.map(|item| items::to_cell_row(&item).map(|(_, row)| row)).transpose()
    }

    pub(super) async fn read_cell_rows(
        &self,
        list: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, CellRow)>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.snapshots)
            .expression_attribute_values(":w", AttributeValue::S(partition(list)))
            .scan_index_forward(!newest_first)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true);
        let query = match after {
            None => query.key_condition_expression("w = :w"),
            Some(after) => query
                .key_condition_expression(if newest_first { "w = :w AND s < :after" } else { "w = :w AND s > :after" })
                .expression_attribute_values(":after", AttributeValue::S(after.to_owned())),
        };
        let answer = query.send().await.map_err(|error| errors::read_failed(&error))?;
        answer.items().iter().map(items::to_cell_row).collect()
    }

    pub(super) async fn write_cell_row(
        &self,
        list: &str,
        key: &str,
        expected: Option<u64>,
        row: &CellRow,
    ) -> Result<bool, StoreError> {
        assert!(row.bytes.len() <= MAX_CELL_ROW_BYTES, "the writer of a row of the cell bounds it");
        let mut item = items::cell_row_key(&partition(list), key);
        item.insert("v".into(), AttributeValue::N(row.version.to_string()));
        item.insert("b".into(), AttributeValue::B(Blob::new(row.bytes.clone())));
        let put = self.client.put_item().table_name(&self.snapshots).set_item(Some(item));
        let put = match expected {
            None => put.condition_expression("attribute_not_exists(w)"),
            Some(version) => put
                .condition_expression("v = :expected")
                .expression_attribute_values(":expected", AttributeValue::N(version.to_string())),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|service| service.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(errors::write_failed(&error)),
        }
    }
}
