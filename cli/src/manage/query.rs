//! What a command shows of an answer: `--query` and `--output`, as `az` has them.

use clap::{Args, ValueEnum};
use dps_core::{Error, ErrorKind};
use jmespath::{Expression, JmespathError, ast::Ast};
use serde_json::{Map, Value};

use super::client::Response;
use crate::output::{self, Output};

#[derive(Args)]
pub(super) struct ShowArguments {
    /// Form of the result [default: json].
    #[arg(long, short = 'o', value_name = "FORM", ignore_case = true)]
    output: Option<Form>,

    /// JMESPath of what to show of the result.
    #[arg(long, value_name = "JMESPATH")]
    query: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    Json,
    Table,
    /// Bare values for scripts: a line for each item, tabs between its values
    Tsv,
}

/// How to show a result.
pub(super) struct Show<'a> {
    /// `None` where nobody asked for one: JSON, but for what [`text`](Self::text) shows.
    form: Option<Form>,
    query: Option<Expression<'static>>,
    output: &'a Output,
}

impl ShowArguments {
    /// Reads the query, so that a faulty one is told before anything is done. `columns` is the
    /// query of a table for which none was given.
    pub(super) fn open<'a>(self, output: &'a Output, columns: &str) -> Result<Show<'a>, Error> {
        let Self { output: form, query } = self;
        if let (Some(form @ (Form::Table | Form::Tsv)), true) = (form, output.is_json()) {
            let name = if form == Form::Table { "table" } else { "tsv" };
            let message = format!("--json and --output {name} exclude each other");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let query = match (query, form) {
            (Some(query), _) => Some(jmespath::compile(&query).map_err(|error| faulty(&error))?),
            (None, Some(Form::Table)) => Some(jmespath::compile(columns).map_err(|error| {
                Error::new(ErrorKind::Internal, format!("the columns: {}", error.reason))
            })?),
            (None, _) => None,
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

    /// A result that is one text, which people want without the quotation marks of JSON.
    pub(super) fn text(&self, text: &str) -> Result<(), Error> {
        match (self.form, &self.query) {
            (None, None) if !self.output.is_json() => output::print(text),
            _ => self.value(Value::from(text)),
        }
    }

    pub(super) fn value(&self, value: Value) -> Result<(), Error> {
        self.shown(value, None)
    }

    /// A list of `items`; where a table would be empty, that is said.
    pub(super) fn list(&self, value: Value, items: &str) -> Result<(), Error> {
        self.shown(value, Some(items))
    }

    fn shown(&self, value: Value, items: Option<&str>) -> Result<(), Error> {
        let value = match &self.query {
            None => value,
            Some(query) => {
                let found = query.search(value).map_err(|error| faulty(&error))?;
                serde_json::to_value(&*found).map_err(|error| {
                    Error::new(ErrorKind::InvalidArgument, format!("--query: {error}"))
                })?
            }
        };
        let orders = || self.query.as_ref().map(key_orders).unwrap_or_default();
        match self.form {
            None | Some(Form::Json) => output::print_json(&value),
            Some(Form::Tsv) => {
                tsv(&value, &orders()).iter().try_for_each(|line| output::print(line))
            }
            Some(Form::Table) => {
                match (table(&value, &orders()), items) {
                    (Some(table), _) => output::print(&table),
                    // As `az`, nothing on standard output.
                    (None, Some(items)) => {
                        self.output.note(format!("There are no {items} to show."));
                        Ok(())
                    }
                    (None, None) => Ok(()),
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

/// The lines of `az … -o tsv`: one for each item, its values in the order of the query.
fn tsv(value: &Value, orders: &[Vec<String>]) -> Vec<String> {
    let items = match value {
        Value::Null => return Vec::new(),
        Value::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let field = |value: &Value| match value {
        Value::Null => "None".to_owned(),
        Value::Array(items) => items.len().to_string(),
        Value::Object(_) => String::new(),
        value => cell(value),
    };
    let line = |item: &Value| match item {
        Value::Object(object) => {
            let names = columns(&[object], orders);
            let values = names.iter().filter_map(|name| object.get(name));
            values.map(field).collect::<Vec<_>>().join("\t")
        }
        Value::Array(values) => values.iter().map(field).collect::<Vec<_>>().join("\t"),
        // Alone, `az` prints them as a script compares them.
        Value::Bool(value) => value.to_string(),
        value => field(value),
    };
    items.iter().map(line).collect()
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
    fn tsv_is_bare_values() {
        let lines = |value: Value, query: &str| {
            let query = jmespath::compile(query).unwrap();
            let found = serde_json::to_value(&*query.search(value).unwrap()).unwrap();
            tsv(&found, &key_orders(&query))
        };
        let value = json!([{ "a": "x\ty", "b": true, "c": [1, 2] }, { "a": "z", "b": null }]);
        assert_eq!(lines(value.clone(), "[0].a"), ["x y"]);
        assert_eq!(lines(value.clone(), "[0].b"), ["true"]);
        assert_eq!(lines(value.clone(), "[].a"), ["x y", "z"]);
        assert_eq!(lines(value.clone(), "[].{B:b, A:a}"), ["True\tx y", "None\tz"]);
        assert_eq!(lines(value.clone(), "[].[a, c]"), ["x y\t2", "z\tNone"]);
        assert_eq!(lines(value, "missing"), [""; 0]);
    }

    #[test]
    fn what_a_device_sent_cannot_break_the_table() {
        let value = json!([{ "body": "two\nlines\u{1b}[31m" }]);
        assert_eq!(shown(value, "@").unwrap().lines().count(), 3);
    }

    #[test]
    fn a_faulty_query_is_refused_with_its_place() {
        let arguments = ShowArguments { output: None, query: Some("value[].{Name:".to_owned()) };
        let Err(error) = arguments.open(&Output::new(false), "@") else { panic!("accepted") };
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().starts_with("--query, column "), "{error}");
    }
}
