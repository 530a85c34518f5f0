"""The invariants of the unified database as SQL: each yields the rows that break it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["INVARIANTS", "Invariant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """SQL that yields a key for each row that breaks it; `tables` are those that it needs."""

    rule: str
    says: str
    tables: tuple[str, ...]
    broken: str


INVARIANTS: Final = (
    Invariant(
        rule="block-without-vector",
        says="a block of the vector store has its embedding, or neither is there",
        tables=("memory_blocks", "memory_block_embeddings"),
        broken="SELECT CAST(b.id AS BLOB) FROM memory_blocks AS b"
        " WHERE b.session_id = 'vector-import' AND NOT EXISTS"
        " (SELECT 1 FROM memory_block_embeddings AS e WHERE e.block_id = b.id)",
    ),
    Invariant(
        rule="vector-without-block",
        says="an embedding has its block",
        tables=("memory_blocks", "memory_block_embeddings"),
        broken="SELECT CAST(e.id AS BLOB) FROM memory_block_embeddings AS e"
        " WHERE e.block_id IS NULL OR NOT EXISTS"
        " (SELECT 1 FROM memory_blocks AS b WHERE b.id = e.block_id)",
    ),
    Invariant(
        rule="vector-of-another-length",
        says="an embedding has as many numbers as it says",
        tables=("memory_block_embeddings",),
        broken="SELECT CAST(id AS BLOB) FROM memory_block_embeddings"
        " WHERE typeof(embedding) <> 'blob' OR length(embedding) <> 4 * dimensions",
    ),
    Invariant(
        rule="entity-vector-without-entity",
        says="an entity's embedding has its entity",
        tables=("knowledge_entities", "knowledge_entity_embeddings"),
        broken="SELECT CAST(v.id AS BLOB) FROM knowledge_entity_embeddings AS v"
        " WHERE v.entity_id IS NULL OR NOT EXISTS"
        " (SELECT 1 FROM knowledge_entities AS e WHERE e.id = v.entity_id)",
    ),
    Invariant(
        rule="two-providers-active",
        says="one provider is active at a time",
        tables=("model_providers",),
        broken="SELECT CAST(name AS BLOB) FROM model_providers WHERE is_active = 1"
        " AND (SELECT count(*) FROM model_providers WHERE is_active = 1) > 1",
    ),
    Invariant(
        rule="failover-not-told",
        says="the active provider is the one that the last failover went to",
        tables=("model_providers", "failover_events"),
        # The key says which, so that an active provider that was never told of is excused only
        # as long as it stays.
        broken="WITH state (active, last, seq) AS (SELECT"
        " (SELECT name FROM model_providers WHERE is_active = 1),"
        " (SELECT to_provider FROM failover_events ORDER BY seq DESC LIMIT 1),"
        " (SELECT max(seq) FROM failover_events))"
        " SELECT CAST(ifnull(active, 'none') || ', failover ' || ifnull(seq, 'none') AS BLOB)"
        " FROM state WHERE active IS NOT last",
    ),
    Invariant(
        rule="request-without-usage",
        says="a reported request is usage that is paid for, once",
        tables=("provider_requests", "synthetic_usage"),
        broken="SELECT CAST(r.id AS BLOB) FROM provider_requests AS r WHERE NOT EXISTS"
        " (SELECT 1 FROM synthetic_usage AS u WHERE u.id = r.id AND u.cost_usd IS r.cost_usd)",
    ),
    Invariant(
        rule="request-sums",
        says="the sums of a provider's day are those of its requests",
        tables=("provider_requests", "provider_performance_metrics"),
        broken="WITH told AS (SELECT provider, substr(reported_at, 1, 10) AS day,"
        " count(*) AS requests, sum(success) AS successful, total(tokens_in) AS tokens_in,"
        " total(tokens_out) AS tokens_out FROM provider_requests GROUP BY 1, 2)"
        " SELECT CAST(m.provider || ' ' || m.day AS BLOB) FROM provider_performance_metrics AS m"
        " LEFT JOIN told USING (provider, day) WHERE (m.requests, m.successful_requests,"
        " m.tokens_in, m.tokens_out) IS NOT (ifnull(told.requests, 0), ifnull(told.successful, 0),"
        " ifnull(told.tokens_in, 0), ifnull(told.tokens_out, 0))"
        " UNION SELECT CAST(told.provider || ' ' || told.day AS BLOB) FROM told WHERE NOT EXISTS"
        " (SELECT 1 FROM provider_performance_metrics AS m"
        " WHERE (m.provider, m.day) = (told.provider, told.day))",
    ),
    Invariant(
        rule="check-sums",
        says="the sums of a provider's day are those of its checks",
        tables=("model_health_history", "provider_performance_metrics"),
        broken="SELECT CAST(m.provider || ' ' || m.day AS BLOB)"
        " FROM provider_performance_metrics AS m WHERE (m.checks, m.healthy_checks) IS NOT"
        " (SELECT count(*), ifnull(sum(h.healthy), 0) FROM model_health_history AS h"
        " WHERE h.rolled_up = 1 AND h.provider = m.provider"
        " AND substr(h.checked_at, 1, 10) = m.day)",
    ),
    Invariant(
        rule="circle-of-parents",
        says="no task is its own ancestor",
        tables=("task_contexts",),
        broken="WITH RECURSIVE up (start, at) AS (SELECT id, parent_task_id FROM task_contexts"
        " WHERE parent_task_id IS NOT NULL UNION SELECT up.start, t.parent_task_id FROM up"
        " JOIN task_contexts AS t ON t.id = up.at WHERE t.parent_task_id IS NOT NULL)"
        " SELECT CAST(start AS BLOB) FROM up WHERE at = start",
    ),
    Invariant(
        rule="circle-of-dependencies",
        says="no task waits for itself",
        tables=("task_contexts",),
        broken="WITH RECURSIVE needs (task, needed) AS (SELECT t.id, d.value"
        " FROM task_contexts AS t, json_each(iif(json_valid(t.depends_on), t.depends_on, '[]'))"
        " AS d), waits (start, at) AS (SELECT task, needed FROM needs UNION SELECT waits.start,"
        " needs.needed FROM waits JOIN needs ON needs.task = waits.at)"
        " SELECT CAST(start AS BLOB) FROM waits WHERE at = start",
    ),
    Invariant(
        rule="alert-too-early",
        says="an alert is raised when its share of the budget is spent",
        tables=("cost_alerts",),
        broken="SELECT CAST(budget_id || ' ' || period_start || ' ' || threshold_percent AS BLOB)"
        " FROM cost_alerts WHERE spent_nanousd * 100.0 < limit_nanousd * 1.0 * threshold_percent",
    ),
    # Of what memory tells, and how far it is believed: the formulas are those that
    # `devflow/README.md` states.
    Invariant(
        rule="pairs",
        says="two entities are counted together as often as blocks mention both",
        tables=("knowledge_pairs", "knowledge_mentions"),
        broken="WITH told (first, second, blocks) AS (SELECT a.entity_seq, b.entity_seq, count(*)"
        " FROM knowledge_mentions AS a JOIN knowledge_mentions AS b"
        " ON b.block_seq = a.block_seq AND b.entity_seq > a.entity_seq GROUP BY 1, 2),"
        " kept (first, second, blocks) AS (SELECT first_seq, second_seq, blocks"
        " FROM knowledge_pairs) SELECT CAST(first || ' ' || second AS BLOB)"
        " FROM (SELECT * FROM told EXCEPT SELECT * FROM kept)"
        " UNION SELECT CAST(first || ' ' || second AS BLOB)"
        " FROM (SELECT * FROM kept EXCEPT SELECT * FROM told)",
    ),
    Invariant(
        rule="relationships",
        says="what two blocks or more mention together is related, as strongly as they say, once"
        " it was settled; what was rejected is not",
        tables=("knowledge_pairs", "knowledge_stale", "entity_relationships"),
        broken="WITH n (blocks) AS (SELECT count(*) * 1.0 FROM knowledge_learned),"
        " told (entity, blocks) AS"
        " (SELECT entity_seq, count(*) FROM knowledge_mentions GROUP BY 1),"
        " pair AS (SELECT p.*, p.blocks >= 2 AND x.validation_status IS NOT 'rejected'"
        " AND y.validation_status IS NOT 'rejected' AS wanted, x.id AS one, y.id AS other,"
        " p.blocks / (p.blocks + 2.0) * iif(p.blocks = n.blocks, 1.0, min(1.0, max(0.0,"
        " ln(p.blocks * n.blocks / (a.blocks * b.blocks)) / -ln(p.blocks / n.blocks)))) AS strong"
        " FROM n, knowledge_pairs AS p JOIN knowledge_entities AS x ON x.seq = p.first_seq"
        " JOIN knowledge_entities AS y ON y.seq = p.second_seq"
        " JOIN told AS a ON a.entity = p.first_seq JOIN told AS b ON b.entity = p.second_seq)"
        " SELECT CAST(one || ' ' || other AS BLOB) FROM pair LEFT JOIN entity_relationships AS r"
        " ON r.seq = pair.relationship_seq WHERE NOT EXISTS (SELECT 1 FROM knowledge_stale) AND"
        " iif(wanted, r.seq IS NULL AND NOT EXISTS (SELECT 1 FROM entity_relationships AS o"
        " WHERE o.source_entity_id = min(one, other) AND o.target_entity_id = max(one, other)"
        " AND o.relationship_type = 'co_occurs') OR r.confirmed_count <> blocks"
        " OR abs(r.relationship_strength - strong) > 1e-9, r.seq IS NOT NULL)",
    ),
    Invariant(
        rule="belief",
        says="an entity is believed as far as what was said of it comes to, each word once",
        tables=("knowledge_priors", "knowledge_feedback"),
        broken="WITH told AS (SELECT p.entity_seq, p.confidence, p.status, p.uses AS before,"
        " count(*) FILTER (WHERE f.kind = 'confirm') AS confirms,"
        " count(*) FILTER (WHERE f.kind = 'reject') AS rejects,"
        " count(*) FILTER (WHERE f.kind = 'use') AS uses FROM knowledge_priors AS p"
        " LEFT JOIN knowledge_feedback AS f ON f.entity_seq = p.entity_seq GROUP BY p.entity_seq)"
        " SELECT CAST(k.id AS BLOB) FROM told JOIN knowledge_entities AS k ON k.seq = entity_seq"
        " WHERE abs(k.confidence_score - (4 * confidence + confirms + uses / 4.0)"
        " / (4 + confirms + rejects + uses / 4.0)) > 1e-9 OR k.usage_count <> before + uses"
        " OR k.validation_status IS NOT CASE WHEN confirms = rejects THEN status"
        " WHEN confirms > rejects THEN 'confirmed' ELSE 'rejected' END",
    ),
    Invariant(
        rule="mail-address-learned",
        says="no mail address is kept of what was learned",
        tables=("knowledge_mentions", "knowledge_discovered"),
        broken="SELECT CAST(seq AS BLOB) FROM knowledge_mentions WHERE has_mail_address(snippet)"
        " UNION SELECT CAST(k.id AS BLOB) FROM knowledge_entities AS k JOIN knowledge_discovered"
        " AS d ON d.entity_seq = k.seq WHERE has_mail_address(k.name)",
    ),
    # Of decisions and their outcomes.
    Invariant(
        rule="outcomes-believed",
        says="what is believed of a platform rests on each outcome once",
        tables=("routing_decisions", "routing_beliefs"),
        broken="WITH told AS (SELECT platform, capability_domain, task_type, count(*) AS outcomes"
        " FROM routing_decisions WHERE reported_at IS NOT NULL GROUP BY 1, 2, 3),"
        " kept AS (SELECT platform, capability_domain, task_type, outcomes FROM routing_beliefs)"
        " SELECT CAST(platform || ' ' || capability_domain || ' ' || task_type AS BLOB)"
        " FROM (SELECT * FROM told EXCEPT SELECT * FROM kept)"
        " UNION SELECT CAST(platform || ' ' || capability_domain || ' ' || task_type AS BLOB)"
        " FROM (SELECT * FROM kept EXCEPT SELECT * FROM told)",
    ),
    Invariant(
        rule="outcomes-performed",
        says="a platform's day has as many tasks as outcomes were reported",
        tables=("routing_decisions", "platform_performance"),
        broken="WITH told AS (SELECT platform, capability_domain, task_type,"
        " substr(reported_at, 1, 10) AS day, count(*) AS tasks FROM routing_decisions"
        " WHERE reported_at IS NOT NULL GROUP BY 1, 2, 3, 4)"
        " SELECT CAST(platform || ' ' || capability_domain || ' ' || task_type || ' ' || day"
        " AS BLOB) FROM told WHERE tasks IS NOT (SELECT p.total_tasks FROM platform_performance"
        " AS p WHERE p.platform = told.platform AND p.capability_domain = told.capability_domain"
        " AND p.task_type = told.task_type AND p.measurement_period_start = told.day)",
    ),
    Invariant(
        rule="chosen-of-candidates",
        says="the platform of a decision is among its candidates, and was not left out",
        tables=("routing_decisions",),
        broken="SELECT CAST(d.id AS BLOB) FROM routing_decisions AS d WHERE NOT EXISTS"
        " (SELECT 1 FROM json_each(d.candidates) AS c WHERE c.value ->> 'platform' = d.platform"
        " AND c.value ->> 'left_out' IS NULL)",
    ),
)
