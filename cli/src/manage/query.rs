//! What a command shows of an answer: `--query` and `--output`, as `az` has them.

use clap::{Args, ValueEnum};
use dps_core::{Error, ErrorKind};
use jmespath::{Expression, JmespathError, ast::Ast};
use serde_json::{Map, Value};

use super::client::Response;
use crate::output::{self, Output};

#[derive(Args)]
pub(super) struct ShowArguments {
    /// Form of the result.
    #[arg(long, short = 'o', value_name = "FORM", ignore_case = true, default_value = "json")]
    output: Form,

    /// JMESPath of what to show of the result.
    #[arg(long, value_name = "JMESPATH")]
    query: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    Json,
    Table,
}

/// How to show a result.
pub(super) struct Show<'a> {
    form: Form,
    query: Option<Expression<'static>>,
    output: &'a Output,
}

impl ShowArguments {
    /// Reads the query, so that a faulty one is told before anything is done. `columns` is the
    /// query of a table for which none was given.
    pub(super) fn open<'a>(self, output: &'a Output, columns: &str) -> Result<Show<'a>, Error> {
        let Self { output: form, query } = self;
        if form == Form::Table && output.is_json() {
            let message = "--json and --output table exclude each other";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let query = match (query, form) {
            (Some(query), _) => Some(jmespath::compile(&query).map_err(|error| faulty(&error))?),
            (None, Form::Table) => Some(jmespath::compile(columns).map_err(|error| {
                Error::new(ErrorKind::Internal, format!("the columns: {}", error.reason))
            })?),
            (None, Form::Json) => None,
        };
        Ok(Show { form, query, output })
    }
}

impl Show<'_> {
    pub(super) fn warning(&self, text: &str) {
        self.output.warning(text);
    }

    /// An answer's body, after its warnings.
    pub(super) fn response(&self, response: Response) -> Result<(), Error> {
        for warning in response.warnings() {
            self.output.warning(warning);
        }
        self.value(response.body)
    }

    pub(super) fn value(&self, value: Value) -> Result<(), Error> {
        let value = match &self.query {
            None => value,
            Some(query) => {
                let found = query.search(value).map_err(|error| faulty(&error))?;
                serde_json::to_value(&*found).map_err(|error| {
                    Error::new(ErrorKind::InvalidArgument, format!("--query: {error}"))
                })?
            }
        };
        match self.form {
            Form::Json => output::print_json(&value),
            Form::Table => {
                let orders = self.query.as_ref().map(key_orders).unwrap_or_default();
                match table(&value, &orders) {
                    Some(table) => output::print(&table),
                    // As `az`: nothing found, nothing printed.
                    None => Ok(()),
                }
            }
        }
    }
}

fn faulty(error: &JmespathError) -> Error {
    let message = format!("--query, column {}: {}", error.column + 1, error.reason);
    Error::new(ErrorKind::InvalidArgument, message)
}

fn table(value: &Value, orders: &[Vec<String>]) -> Option<String> {
    let items = match value {
        Value::Null => return None,
        Value::Array(items) if items.is_empty() => return None,
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let (header, rows): (Vec<String>, Vec<Vec<String>>) =
        if let Some(objects) = all(items, Value::as_object) {
            let header = columns(&objects, orders);
            let row = |object: &&Map<String, Value>| {
                header.iter().map(|name| object.get(name).map(cell).unwrap_or_default()).collect()
            };
            let rows = objects.iter().map(row).collect();
            (header, rows)
        } else if let Some(lists) = all(items, Value::as_array) {
            let width = lists.iter().map(|list| list.len()).max().unwrap_or(0);
            let row = |list: &&Vec<Value>| {
                (0..width).map(|at| list.get(at).map(cell).unwrap_or_default()).collect()
            };
            (
                (1..=width).map(|number| format!("Column{number}")).collect(),
                lists.iter().map(row).collect(),
            )
        } else {
            (vec!["Result".to_owned()], items.iter().map(|item| vec![cell(item)]).collect())
        };
    if header.is_empty() {
        return None;
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    Some(output::table(&header, &rows))
}

fn all<'a, T>(items: &'a [Value], kind: impl Fn(&'a Value) -> Option<T>) -> Option<Vec<T>> {
    items.iter().map(kind).collect()
}

/// The columns in the order in which the query names them; else every key that any row has.
fn columns(rows: &[&Map<String, Value>], orders: &[Vec<String>]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for row in rows {
        for key in row.keys() {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
    }
    let same_keys = |order: &&Vec<String>| {
        order.len() == keys.len() && keys.iter().all(|key| order.contains(key))
    };
    orders.iter().find(same_keys).cloned().unwrap_or(keys)
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        // As `az` prints them.
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The keys of every `{Name: …}` of a query, the last one first: evaluation sorts them.
fn key_orders(query: &Expression<'_>) -> Vec<Vec<String>> {
    let mut orders = Vec::new();
    collect_orders(query.as_ast(), &mut orders);
    orders.reverse();
    orders
}

fn collect_orders(node: &Ast, orders: &mut Vec<Vec<String>>) {
    match node {
        Ast::MultiHash { elements, .. } => {
            orders.push(elements.iter().map(|pair| pair.key.clone()).collect());
        }
        Ast::Projection { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. } => {
            collect_orders(lhs, orders);
            collect_orders(rhs, orders);
        }
        Ast::Condition { then: node, .. }
        | Ast::Flatten { node, .. }
        | Ast::ObjectValues { node, .. } => collect_orders(node, orders),
        Ast::Function { args, .. } => args.iter().for_each(|node| collect_orders(node, orders)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: Value, query: &str) -> Option<String> {
        let query = jmespath::compile(query).unwrap();
        let found = serde_json::to_value(&*query.search(value).unwrap()).unwrap();
        table(&found, &key_orders(&query))
    }

    /// The listing of the enrollment group article, with its columns as wide as their content.
    #[test]
    fn columns_stand_in_the_order_of_the_query() {
        let groups = json!([{
            "attestation": { "type": "x509", "x509": { "caReferences": { "primary": "my-intermediate-ca" } } },
            "enrollmentGroupId": "my-device-group",
            "provisioningStatus": "enabled",
        }]);
        let query = "[].{EnrollmentID:enrollmentGroupId, \
                     CA:attestation.x509.caReferences.primary, Status:provisioningStatus}";
        assert_eq!(
            shown(groups.clone(), query).unwrap(),
            "EnrollmentID     CA                  Status\n\
             ---------------  ------------------  -------\n\
             my-device-group  my-intermediate-ca  enabled"
        );
        let piped = format!("{query} | sort_by(@, &EnrollmentID)");
        assert_eq!(shown(groups.clone(), &piped), shown(groups, query));
    }

    #[test]
    fn lists_and_single_values_are_tables_too() {
        let value = json!([{ "a": 1, "b": true }, { "a": 2, "b": null }]);
        assert_eq!(
            shown(value.clone(), "[].[a, b]").unwrap(),
            "Column1  Column2\n-------  -------\n1        True\n2"
        );
        assert_eq!(shown(value.clone(), "[].a").unwrap(), "Result\n------\n1\n2");
        assert_eq!(shown(value.clone(), "[0]").unwrap(), "a  b\n-  ----\n1  True");
        assert_eq!(shown(value.clone(), "[?a == `3`]"), None);
        assert_eq!(shown(value, "missing"), None);
    }

    #[test]
    fn what_a_device_sent_cannot_break_the_table() {
        let value = json!([{ "body": "two\nlines\u{1b}[31m" }]);
        assert_eq!(shown(value, "@").unwrap().lines().count(), 3);
    }

    #[test]
    fn a_faulty_query_is_refused_with_its_place() {
        let arguments =
            ShowArguments { output: Form::Json, query: Some("value[].{Name:".to_owned()) };
        let Err(error) = arguments.open(&Output::new(false), "@") else { panic!("accepted") };
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("--query, column "), "{error}");
    }
}
