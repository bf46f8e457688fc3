//! The operators of a plan as nodes that a reader of PostgreSQL's plans knows.

use std::time::Duration;

use datafusion::common::stats::Precision;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use lodedb_sql::statement::ExplainOptions;
use serde_json::{Map, Value};

use super::milliseconds;
use crate::query::apply::ApplyOperator;
use crate::query::interrupt;
use crate::query::knn::NeighborOperator;
use crate::query::scan::access::Access;
use crate::query::scan::operator::ScanOperator;
use crate::query::statement_state::Run;
use crate::segment::{Effort, Strategy};

/// One node.
#[derive(Debug, Default)]
pub(super) struct Node {
    name: String,
    relation: Option<String>,
    details: Vec<(String, String)>,
    estimate: Option<u64>,
    pub(super) rows: Option<usize>,
    pub(super) elapsed: Option<Duration>,
    pub(super) children: Vec<Node>,
}

impl Node {
    pub(super) fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn detail(&mut self, name: &str, value: impl Into<String>) {
        self.details.push((name.to_owned(), value.into()));
    }

    /// The nodes of a plan; with what they did if it was run.
    pub(super) async fn of(plan: &dyn ExecutionPlan, run: &Run, measured: bool) -> Self {
        let mut children = Vec::new();
        for child in plan.children() {
            children.push(Box::pin(Self::of(child.as_ref(), run, measured)).await);
        }
        if let Some(apply) = downcast::<ApplyOperator>(plan)
            && let Some(subquery) = apply.example(run).await
        {
            children.push(Box::pin(Self::of(subquery.as_ref(), run, false)).await);
        }
        if let Some(filter) = downcast::<FilterExec>(plan) {
            // PostgreSQL shows a condition with the node it is checked at.
            if let Some(mut node) = children.into_iter().next() {
                node.detail("Filter", filter.predicate().to_string());
                node.measure(plan, measured);
                return node;
            }
            return Self::named("Result");
        }
        let mut node = match plan.name() {
            "ProjectionExec"
            | "CoalesceBatchesExec"
            | "RepartitionExec"
            | "CooperativeExec"
            | "BufferExec"
            | interrupt::NAME => {
                let mut children = children;
                return match children.len() {
                    1 => children.remove(0),
                    _ => Self { children, ..Self::named("Result") },
                };
            }
            "ScalarSubqueryExec" => {
                let mut children = children.into_iter();
                let mut node = children.next().unwrap_or_default();
                for mut init in children {
                    init.name = format!("InitPlan: {}", init.name);
                    node.children.push(init);
                }
                return node;
            }
            _ => Self { children, ..Self::named(node_name(plan)) },
        };
        node.describe(plan);
        node.measure(plan, measured);
        node
    }

    fn describe(&mut self, plan: &dyn ExecutionPlan) {
        if let Some(scan) = downcast::<ScanOperator>(plan) {
            self.relation = Some(scan.table.name.clone());
            if let Access::Index { condition, .. } = &scan.access {
                self.detail("Index Cond", format!("({condition})"));
            }
        } else if let Some(search) = downcast::<NeighborOperator>(plan) {
            self.describe_search(search);
        } else if let Some(sort) = downcast::<SortExec>(plan) {
            let keys: Vec<String> = sort.expr().iter().map(ToString::to_string).collect();
            self.detail("Sort Key", keys.join(", "));
            if let Some(fetch) = sort.fetch() {
                self.detail("Limit", fetch.to_string());
            }
        } else if let Some(join) = downcast::<HashJoinExec>(plan) {
            let on: Vec<String> = join.on().iter().map(|(left, right)| format!("({left} = {right})")).collect();
            self.detail("Hash Cond", on.join(" AND "));
        } else if let Some(aggregate) = downcast::<AggregateExec>(plan) {
            let keys: Vec<String> = aggregate.group_expr().expr().iter().map(|(expr, _)| expr.to_string()).collect();
            if !keys.is_empty() {
                self.detail("Group Key", keys.join(", "));
            }
        }
    }

    fn describe_search(&mut self, search: &NeighborOperator) {
        let ask = &search.ask;
        self.relation = Some(ask.table.name.clone());
        let column = &ask.table.columns[ask.position].name;
        let distance = |query: &String| format!("({column} {} {})", ask.metric.operator(), shortened(query));
        let distances: Vec<String> = search.query_texts.iter().map(distance).collect();
        let shown = if distances.len() == 1 { distances.concat() } else { format!("LEAST({})", distances.join(", ")) };
        self.detail("Order By", shown);
        if !search.conditions.is_empty() {
            let name = if ask.named.is_some() { "Index Cond" } else { "Filter" };
            self.detail(name, format!("({})", search.conditions.join(" AND ")));
        }
        self.detail("Neighbors", ask.k.to_string());
        match ask.effort {
            Effort::Exact => self.detail("Effort", "exact"),
            Effort::Recall(recall) => self.detail("Effort", format!("recall {recall}")),
            Effort::Explicit { probes, candidates } => {
                self.detail("Effort", format!("probes {probes}, candidates {candidates}"));
            }
            Effort::Default => {}
        }
        if let Some(view) = ask.reader.table_view(ask.table.id) {
            self.detail("Segments", view.segments.len().to_string());
        }
        let Some(searched) = search.searched.lock().clone() else { return };
        for segment in &searched.stats.segments {
            let how = match segment.strategy {
                Strategy::Skip => "skipped".to_owned(),
                Strategy::Exact => format!("exact, {} of {} rows", segment.survivors, segment.rows),
                Strategy::Index { probes, candidates, selective } => format!(
                    "{}probes {probes}, candidates {candidates}, nominated {}, {} of {} rows",
                    if selective { "selective, " } else { "" },
                    segment.nominated,
                    segment.survivors,
                    segment.rows
                ),
            };
            self.detail(&format!("Segment {}", segment.segment), how);
        }
        self.detail("Rows Compared", searched.stats.compared.to_string());
        if searched.stats.widened {
            self.detail("Widened", "true");
        }
        self.detail("Search Time", format!("{:.3} ms", milliseconds(searched.elapsed)));
    }

    fn measure(&mut self, plan: &dyn ExecutionPlan, measured: bool) {
        if measured {
            let metrics = plan.metrics();
            if let Some(rows) = metrics.as_ref().and_then(|metrics| metrics.output_rows()) {
                self.rows = Some(rows);
            }
            if let Some(nanoseconds) = metrics.as_ref().and_then(|metrics| metrics.elapsed_compute()) {
                let so_far = self.elapsed.unwrap_or_default();
                self.elapsed = Some(so_far + Duration::from_nanos(nanoseconds as u64));
            }
        }
        #[expect(deprecated, reason = "what the newer question falls back on")]
        let statistics = plan.partition_statistics(None);
        if let Ok(statistics) = statistics
            && let Precision::Exact(rows) | Precision::Inexact(rows) = statistics.num_rows
        {
            self.estimate = Some(rows as u64);
        }
    }

    /// Writes the node and those below it as lines of text.
    pub(super) fn write(&self, depth: usize, options: &ExplainOptions, lines: &mut Vec<String>) {
        let (indent, arrow) = if depth == 0 { (0, "") } else { (depth * 6 - 4, "->  ") };
        let mut line = format!("{}{arrow}{}", " ".repeat(indent), self.name);
        if options.costs.unwrap_or(true) {
            line.push_str(&format!("  (cost=0.00..0.00 rows={} width=0)", self.estimate.unwrap_or(0)));
        }
        if options.analyze {
            let rows = self.rows.unwrap_or(0);
            match self.elapsed.filter(|_| options.timing.unwrap_or(true)) {
                Some(elapsed) => {
                    line.push_str(&format!(" (actual time=0.000..{:.3} rows={rows} loops=1)", milliseconds(elapsed)));
                }
                None => line.push_str(&format!(" (actual rows={rows} loops=1)")),
            }
        }
        lines.push(line);
        let indent = " ".repeat(if depth == 0 { 2 } else { depth * 6 + 2 });
        lines.extend(self.details.iter().map(|(name, value)| format!("{indent}{name}: {value}")));
        for child in &self.children {
            child.write(depth + 1, options, lines);
        }
    }

    /// The node and those below it as JSON.
    pub(super) fn to_json(&self, options: &ExplainOptions) -> Value {
        let mut object = Map::new();
        object.insert("Node Type".into(), self.name.split(" on ").next().unwrap_or(&self.name).into());
        if let Some(relation) = &self.relation {
            object.insert("Relation Name".into(), relation.clone().into());
        }
        if options.costs.unwrap_or(true) {
            object.insert("Startup Cost".into(), 0.0.into());
            object.insert("Total Cost".into(), 0.0.into());
            object.insert("Plan Rows".into(), self.estimate.unwrap_or(0).into());
            object.insert("Plan Width".into(), 0.into());
        }
        if options.analyze {
            object.insert("Actual Rows".into(), self.rows.unwrap_or(0).into());
            object.insert("Actual Loops".into(), 1.into());
            if let Some(elapsed) = self.elapsed {
                object.insert("Actual Total Time".into(), milliseconds(elapsed).into());
            }
        }
        for (name, value) in &self.details {
            object.insert(name.clone(), value.clone().into());
        }
        if !self.children.is_empty() {
            object.insert("Plans".into(), self.children.iter().map(|child| child.to_json(options)).collect());
        }
        Value::Object(object)
    }
}

fn downcast<T: ExecutionPlan>(plan: &dyn ExecutionPlan) -> Option<&T> {
    (plan as &dyn std::any::Any).downcast_ref()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn node_name(plan: &dyn ExecutionPlan) -> String {
    if let Some(search) = downcast::<NeighborOperator>(plan) {
        let ask = &search.ask;
        let index = ask.named.as_ref().map(|(index, _)| index).or(ask.index.as_ref());
        return match index {
            Some(index) => format!("Index Scan using {} on {}", index.name, ask.table.name),
            None => format!("Exact Scan on {}", ask.table.name),
        };
    }
    if let Some(scan) = downcast::<ScanOperator>(plan) {
        let parallel = if plan.output_partitioning().partition_count() > 1 { "Parallel " } else { "" };
        return match &scan.access {
            Access::Index { index, .. } => format!("Index Scan using {} on {}", index.name, scan.table.name),
            _ => format!("{parallel}Seq Scan on {}", scan.table.name),
        };
    }
    if let Some(aggregate) = downcast::<AggregateExec>(plan) {
        let kind = if aggregate.group_expr().is_empty() { "Aggregate" } else { "HashAggregate" };
        return match aggregate.mode() {
            AggregateMode::Partial => format!("Partial {kind}"),
            AggregateMode::Final | AggregateMode::FinalPartitioned => format!("Finalize {kind}"),
            _ => kind.to_owned(),
        };
    }
    // Some names carry a remark.
    match plan.name().split('(').next().unwrap_or_default() {
        "SortExec" => "Sort",
        "SortPreservingMergeExec" => "Gather Merge",
        "CoalescePartitionsExec" => "Gather",
        "GlobalLimitExec" | "LocalLimitExec" => "Limit",
        "HashJoinExec" => "Hash Join",
        "NestedLoopJoinExec" | "CrossJoinExec" => "Nested Loop",
        "SortMergeJoinExec" => "Merge Join",
        "UnionExec" | "InterleaveExec" => "Append",
        "WindowAggExec" | "BoundedWindowAggExec" => "WindowAgg",
        "UnnestExec" => "ProjectSet",
        "EmptyExec" | "PlaceholderRowExec" => "Result",
        "DataSourceExec" => "Values Scan",
        "StreamingTableExec" => "Function Scan",
        "RecursiveQueryExec" => "Recursive Union",
        "WorkTableExec" => "WorkTable Scan",
        "ApplyOperator" => "SubPlan for each row",
        other => return other.trim_end_matches("Exec").to_owned(),
    }
    .to_owned()
}
