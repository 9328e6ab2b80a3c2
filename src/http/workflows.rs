//! `/v1/workflows`: definitions, published and read.

use std::sync::Arc;

use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::input::{Media, preferred};
use super::operation::Operation;
use super::pagination;
use super::problem::{Code, FieldError, Problem};
use super::reply::Reply;
use super::request_context::{RequestContext, unexpected};
use super::schemas::object;
use crate::engine::workflow::{
    CheckedDefinition, Definition, DefinitionFault, language_schema, mermaid, read, svg,
};
use crate::engine::{Command, Outcome, Refusal, WorkflowView};
use crate::types::{Time, WorkflowName};

/// A version of a workflow.
#[derive(Serialize, JsonSchema)]
pub(super) struct WorkflowResponse<'a> {
    /// Its name.
    name: &'a WorkflowName,
    /// Its version, from 1.
    version: u32,
    /// The latest version.
    latest: u32,
    /// One line for people.
    title: Option<&'a str>,
    /// More for people.
    description: Option<&'a str>,
    /// True if it takes no new starts.
    retired: bool,
    /// When this version was published.
    published_at: Time,
    /// Publisher of this version.
    published_by: &'a str,
    /// The names of its steps.
    steps: Vec<&'a str>,
    /// Possible mistakes; only in the answer that publishes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    warnings: Vec<DefinitionFaultEntry>,
    /// Number of open transactions of each version; only in the answer that publishes it and for
    /// one workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    open: Option<Vec<OpenTransactionCount>>,
}

/// Number of open transactions of a version.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct OpenTransactionCount {
    /// The version.
    version: u32,
    /// Number of transactions.
    transactions: u64,
}

/// A fault or a possible mistake in a document.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct DefinitionFaultEntry {
    /// Location: a JSON Pointer (RFC 6901).
    pointer: String,
    /// Kind of the fault, in kebab case.
    code: String,
    /// The fault in words.
    message: String,
    /// The line in the document, from 1.
    line: Option<u32>,
    /// The column in the line, from 1.
    column: Option<u32>,
}

/// A page of workflows.
#[derive(Serialize, JsonSchema)]
pub(super) struct WorkflowPage<'a> {
    /// By name.
    items: Vec<WorkflowResponse<'a>>,
    /// The `cursor` of the next page; `null`: nothing is left.
    next_cursor: Option<String>,
}

/// Result of a check.
#[derive(Serialize, JsonSchema)]
pub(super) struct WorkflowCheckResponse {
    /// True if it can be published.
    valid: bool,
    /// Faults.
    errors: Vec<DefinitionFaultEntry>,
    /// Possible mistakes.
    warnings: Vec<DefinitionFaultEntry>,
}

impl From<&DefinitionFault> for DefinitionFaultEntry {
    fn from(fault: &DefinitionFault) -> Self {
        Self {
            pointer: fault.pointer.clone(),
            code: fault.code.to_owned(),
            message: fault.message.clone(),
            line: fault.at.map(|(line, _)| line),
            column: fault.at.map(|(_, column)| column),
        }
    }
}

impl<'a> WorkflowResponse<'a> {
    fn new(view: &'a WorkflowView) -> Self {
        let published = &view.published;
        let definition = &published.definition;
        Self {
            name: &published.name,
            version: published.version,
            latest: view.head.latest,
            title: definition.title.as_deref(),
            description: definition.description.as_deref(),
            retired: view.head.retired,
            published_at: published.published_at,
            published_by: &published.published_by,
            steps: definition.steps.iter().map(|step| step.name.as_str()).collect(),
            warnings: Vec::new(),
            open: None,
        }
    }
}

/// Returns all faults of a document as one problem; line and column are in the message too.
fn invalid(faults: &[DefinitionFault]) -> Problem {
    let count = faults.len();
    let plural = if count == 1 { "" } else { "s" };
    let detail = format!("the definition has {count} error{plural}; `errors` lists each");
    let errors = faults.iter().map(|fault| {
        let place = fault.at.map(|(line, column)| format!("line {line}, column {column}: "));
        let message = format!("{}{}", place.unwrap_or_default(), fault.message);
        FieldError::new(fault.pointer.clone(), fault.code, message)
    });
    Problem::new(Code::InvalidWorkflow, detail).with_errors(errors.collect())
}

/// Reads a document on a blocking thread: it may take a tenth of a second.
async fn read_document(
    request: &RequestContext,
) -> Result<(Arc<str>, Result<CheckedDefinition, Vec<DefinitionFault>>), Problem> {
    let bytes = request.body.as_ref().map_or(&[][..], |(_, bytes)| bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::field("", "invalid-encoding", "a definition is a text in UTF-8"))?;
    let source: Arc<str> = text.into();
    let document = Arc::clone(&source);
    let read = tokio::task::spawn_blocking(move || read(&document)).await;
    let read = read.map_err(|error| {
        tracing::error!(%error, "a definition could not be read");
        Problem::from(Code::Internal)
    })?;
    Ok((source, read))
}

const DOCUMENT_EXAMPLE: &str = r#"{"abide":1,"workflow":"hello","first":"greet","steps":{"greet":{"by":["owner"],"next":{"end":"done"}}}}"#;

pub(super) const PUBLISH: Operation = Operation::new(
    "publishWorkflow",
    "workflows",
    "Publishes a version of a workflow",
)
.text(
    "What the latest version says already changes nothing and answers 200. Open transactions \
           keep their version. The revision is that of the workflow, not of a version.",
)
.if_match()
.idempotent()
.body_of(Media::Yaml, object, DOCUMENT_EXAMPLE)
.or_body_of(Media::Json, object)
.json::<WorkflowResponse<'_>>(201, "The new version.", "")
.json::<WorkflowResponse<'_>>(200, "The version.", "")
.problems(&[Code::InvalidWorkflow, Code::InvalidInput, Code::LimitReached]);

pub(super) async fn publish(request: RequestContext) -> Result<Reply, Problem> {
    let (source, document) = read_document(&request).await?;
    let CheckedDefinition { definition, warnings, .. } =
        document.map_err(|faults| invalid(&faults))?;
    if definition.name.as_str() != request.parameters.at(0) {
        let message = format!("the document is of the workflow {}", definition.name);
        return Err(invalid(&[DefinitionFault {
            pointer: "/workflow".to_owned(),
            code: "wrong-name",
            message,
            at: None,
        }]));
    }
    let mut warnings: Vec<_> = warnings.iter().map(DefinitionFaultEntry::from).collect();
    warnings.extend(unknowns(&request, &definition)?);
    let before = request.api.app.workflow(&definition.name, None).ok();
    let latest = before.map_or(0, |view| view.head.latest);
    let open = open_of(&request, &definition.name, latest)?;
    let command = Command::Publish { source, definition: Arc::new(definition) };
    let write = move |outcome: &Outcome, _| match outcome {
        Outcome::Workflow { view, created } => {
            let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
            let warnings = warnings.clone();
            let shown = WorkflowResponse {
                warnings,
                open: Some(open.clone()),
                ..WorkflowResponse::new(view)
            };
            let location = format!(
                "/v1/workflows/{}/versions/{}",
                view.published.name, view.published.version
            );
            Ok(Reply::json(&shown)?.status(status).with_text(header::LOCATION, &location))
        }
        other => Err(unexpected(other)),
    };
    Ok(request.execute(command, write).await)
}

/// Returns a warning for each name in the definition that does not exist yet.
fn unknowns(
    request: &RequestContext,
    definition: &Definition,
) -> Result<Vec<DefinitionFaultEntry>, Problem> {
    let unknown = request.api.app.definition_warnings(definition)?.into_iter();
    let shown = unknown.map(|unknown| DefinitionFaultEntry {
        pointer: String::new(),
        code: unknown.code.to_owned(),
        message: unknown.message,
        line: None,
        column: None,
    });
    Ok(shown.collect())
}

fn open_of(
    request: &RequestContext,
    name: &WorkflowName,
    latest: u32,
) -> Result<Vec<OpenTransactionCount>, Problem> {
    let open = request.api.app.open_by_version(name, latest)?;
    let of = |(version, transactions)| OpenTransactionCount { version, transactions };
    Ok(open.into_iter().map(of).collect())
}

pub(super) const CHECK: Operation =
    Operation::new("checkWorkflow", "workflows", "Checks a definition without publishing it")
        .body_of(Media::Yaml, object, DOCUMENT_EXAMPLE)
        .or_body_of(Media::Json, object)
        .json::<WorkflowCheckResponse>(
            200,
            "What was found.",
            r#"{"valid":true,"errors":[],"warnings":[]}"#,
        )
        .problems(&[Code::InvalidInput]);

pub(super) async fn check(request: RequestContext) -> Result<Reply, Problem> {
    let (_, document) = read_document(&request).await?;
    let shown = |faults: &[DefinitionFault]| -> Vec<_> {
        faults.iter().map(DefinitionFaultEntry::from).collect()
    };
    Reply::json(&match document {
        Ok(read) => {
            let mut warnings: Vec<_> = shown(&read.warnings);
            warnings.extend(unknowns(&request, &read.definition)?);
            WorkflowCheckResponse { valid: true, errors: Vec::new(), warnings }
        }
        Err(faults) => {
            WorkflowCheckResponse { valid: false, errors: shown(&faults), warnings: Vec::new() }
        }
    })
}

pub(super) const LIST: Operation =
    Operation::new("listWorkflows", "workflows", "The latest version of each workflow, by name")
        .query(pagination::PARAMETERS)
        .json::<WorkflowPage<'_>>(200, "A page of workflows.", "")
        .problems(&[Code::InvalidInput]);

pub(super) fn list(request: &RequestContext) -> Result<Reply, Problem> {
    let after: Option<WorkflowName> = pagination::after(request)?;
    let (views, next) = request.api.app.workflows(request.query.limit()?, after.as_ref())?;
    let after = |view: &WorkflowView| view.published.name.clone();
    let (items, next_cursor) =
        pagination::bounded(request, &views, next, after, WorkflowResponse::new);
    Reply::json(&WorkflowPage { items, next_cursor })
}

pub(super) const SHOW: Operation = Operation::new(
    "getWorkflow",
    "workflows",
    "The latest version of a workflow; with `Accept: application/yaml` its document",
)
.negotiated()
.if_none_match()
.json::<WorkflowResponse<'_>>(200, "The version.", "")
.problems(&[Code::NotFound]);

pub(super) const SHOW_VERSION: Operation = SHOW.named(
    "getWorkflowVersion",
    "A version of a workflow; with `Accept: application/yaml` its document",
);

fn name(request: &RequestContext) -> Result<WorkflowName, Problem> {
    let name = request.parameters.at(0).parse();
    name.map_err(|_| Problem::from(Refusal::NotFound("workflow")))
}

/// Returns whether the client prefers the document to the version as JSON.
fn wants_document(request: &RequestContext) -> bool {
    preferred(&request.headers, &["application/json", YAML]) == YAML
}

const YAML: &str = "application/yaml";

pub(super) fn show(request: &RequestContext) -> Result<Reply, Problem> {
    let view = request.api.app.workflow(&name(request)?, None)?;
    if wants_document(request) {
        let reply = Reply::text(YAML, view.published.source.to_string());
        return request.shown_at(view.revision, reply);
    }
    let open = open_of(request, &view.published.name, view.head.latest)?;
    let reply =
        Reply::json(&WorkflowResponse { open: Some(open), ..WorkflowResponse::new(&view) })?;
    request.shown_at(view.revision, reply)
}

pub(super) fn show_version(request: &RequestContext) -> Result<Reply, Problem> {
    let none = || Problem::from(Refusal::NotFound("workflow"));
    let version = request.parameters.at(1).parse().map_err(|_| none())?;
    let view = request.api.app.workflow(&name(request)?, Some(version))?;
    if wants_document(request) {
        let reply = Reply::text(YAML, view.published.source.to_string());
        return request.shown_at(view.revision, reply);
    }
    request.shown_at(view.revision, Reply::json(&WorkflowResponse::new(&view))?)
}

pub(super) const DIAGRAM: Operation = Operation::new(
    "getWorkflowDiagram",
    "workflows",
    "The latest version as a picture; with `Accept: text/vnd.mermaid` as a flow chart",
)
.negotiated()
.media(200, "It.", "image/svg+xml")
.problems(&[Code::NotFound]);

pub(super) fn diagram(request: &RequestContext) -> Result<Reply, Problem> {
    let view = request.api.app.workflow(&name(request)?, None)?;
    let definition = &view.published.definition;
    let (picture, chart) = ("image/svg+xml", "text/vnd.mermaid");
    if preferred(&request.headers, &[picture, chart]) == chart {
        return Ok(Reply::text(chart, mermaid(definition)));
    }
    Ok(Reply::text(picture, svg(definition)))
}

pub(super) const LANGUAGE: Operation = Operation::new(
    "getWorkflowLanguage",
    "workflows",
    "The JSON Schema of the workflow language, for editors",
)
.json_of(200, "The schema.", object, "");

pub(super) fn language(_: &RequestContext) -> Result<Reply, Problem> {
    Reply::json(&language_schema())
}

pub(super) const RETIRE: Operation = Operation::new(
    "retireWorkflow",
    "workflows",
    "Retires a workflow: it takes no new starts, open transactions go on",
)
.if_match()
.idempotent()
.empty(204, "It takes no new starts.")
.problems(&[Code::NotFound]);

pub(super) async fn retire(request: RequestContext) -> Result<Reply, Problem> {
    let name = name(&request)?;
    Ok(request.execute_quietly(Command::Retire { name }).await)
}
