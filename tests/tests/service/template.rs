//! The template as a value: read, looked into, changed in a copy, and its intrinsics resolved as CloudFormation would.

use end_to_end::{root, stack_tool};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use testkit::Tool;

/// The linter; its environment also holds the reader of YAML.
pub const LINTER: &str = "cfn-lint==1.58.0";

#[derive(Clone)]
pub struct Template(pub Value);

impl Template {
    pub fn path() -> PathBuf {
        root().join("scripts/service/service.yaml")
    }

    pub fn read() -> Self {
        let program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
        let python = Tool::new(stack_tool(LINTER).join("python")).args(["-c", program]);
        let run = python.stdin(fs::read(Self::path()).unwrap()).run().succeeds();
        Self(serde_json::from_slice(&run.stdout).unwrap())
    }

    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| unreachable!("the template has no {pointer}"))
    }

    /// Where the value that `pointer` leads to really stands: a parameter has it as its default.
    pub fn source(&self, pointer: &str) -> String {
        let parameter = self.0.pointer(pointer).and_then(|value| value.get("Ref")).and_then(Value::as_str);
        let default = parameter.map(|name| format!("/Parameters/{name}/Default"));
        default.filter(|default| self.0.pointer(default).is_some()).unwrap_or_else(|| pointer.to_owned())
    }

    pub fn value(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(&self.source(pointer))
    }

    /// Makes another value of the one that `pointer` leads to.
    pub fn change(&mut self, pointer: &str) {
        let source = self.source(pointer);
        let value = self.0.pointer_mut(&source).expect("only what is there is changed");
        *value = match value.clone() {
            Value::Bool(yes) => json!(!yes),
            Value::Number(number) => json!(number.as_f64().unwrap() + 1.0),
            Value::String(text) => json!(text.parse::<f64>().map_or(format!("{text}x"), |n| (n + 1.0).to_string())),
            other => unreachable!("{pointer} is {other}, no figure"),
        };
    }

    /// Names and properties of the resources of a type.
    pub fn of_type(&self, kind: &str) -> Vec<(String, &Value)> {
        let resources = self.at("/Resources").as_object().unwrap();
        let of_type = resources.iter().filter(|(_, resource)| resource["Type"] == kind);
        of_type.map(|(name, resource)| (name.clone(), &resource["Properties"])).collect()
    }

    pub fn types(&self) -> Vec<&str> {
        let mut types: Vec<&str> =
            self.at("/Resources").as_object().unwrap().values().map(|r| r["Type"].as_str().unwrap()).collect();
        types.sort_unstable();
        types.dedup();
        types
    }
}

/// What names in the template stand for in one stack.
pub struct Stack<'a> {
    pub template: &'a Template,
    pub parameters: BTreeMap<String, String>,
    /// Physical ids of resources, and pseudo parameters.
    pub ids: BTreeMap<String, String>,
}

impl Stack<'_> {
    /// Whether the resource's condition holds.
    pub fn has(&self, resource: &str) -> bool {
        let condition = &self.template.at(&format!("/Resources/{resource}"))["Condition"];
        condition.as_str().is_none_or(|condition| self.holds(condition))
    }

    fn holds(&self, condition: &str) -> bool {
        let sides = self.template.at(&format!("/Conditions/{condition}/Fn::Equals")).as_array().unwrap();
        self.resolve(&sides[0]) == self.resolve(&sides[1])
    }

    pub fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Value::Object(map) if map.len() == 1 => {
                let (key, argument) = map.iter().next().unwrap();
                match key.as_str() {
                    "Ref" => self.reference(argument.as_str().unwrap()),
                    "Fn::GetAtt" => json!(self.attribute(argument[0].as_str().unwrap(), argument[1].as_str().unwrap())),
                    "Fn::Sub" => json!(self.substitute(argument.as_str().unwrap())),
                    "Fn::If" => {
                        let side = if self.holds(argument[0].as_str().unwrap()) { 1 } else { 2 };
                        self.resolve(&argument[side])
                    }
                    _ => self.each(map),
                }
            }
            Value::Object(map) => self.each(map),
            plain => plain.clone(),
        }
    }

    fn each(&self, map: &Map<String, Value>) -> Value {
        map.iter().map(|(key, value)| (key.clone(), self.resolve(value))).collect::<Map<_, _>>().into()
    }

    fn reference(&self, name: &str) -> Value {
        let kind = self.template.0.pointer(&format!("/Parameters/{name}/Type"));
        match (kind.and_then(Value::as_str), self.parameters.get(name)) {
            (Some("Number"), Some(text)) => serde_json::from_str(text).unwrap(),
            (Some(list), Some(text)) if list.starts_with("List<") => text.split(',').collect(),
            (_, Some(text)) => json!(text),
            (_, None) => json!(self.ids.get(name).unwrap_or_else(|| unreachable!("nothing is known of {name}"))),
        }
    }

    fn attribute(&self, resource: &str, attribute: &str) -> String {
        let id = self.ids.get(resource).unwrap_or_else(|| unreachable!("there is no {resource}"));
        match attribute {
            "GroupId" => id.clone(),
            "LoadBalancerFullName" => id.split_once("loadbalancer/").unwrap().1.to_owned(),
            "Arn" => format!("arn:aws:iam::{}:instance-profile/{id}", self.ids["AWS::AccountId"]),
            other => unreachable!("{resource}.{other} is not known here"),
        }
    }

    fn substitute(&self, text: &str) -> String {
        let mut parts = text.split("${");
        let mut done = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap();
            done += self.reference(name).as_str().unwrap();
            done += rest;
        }
        done
    }
}
