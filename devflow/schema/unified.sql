-- The unified database. Every table has `seq`, a rowid that VACUUM keeps, for full-text indexes, vectors and origins;
-- and `id`, the key that the services use, which is never NULL. Timestamps stand as they were written.

-- Tasks, memory, knowledge -------------------------------------------------------------------------------------------

-- `legacy_values`: what a client of the legacy API wrote, where the words of this table are others: a JSON object.
CREATE TABLE task_contexts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    title TEXT NOT NULL,
    description TEXT,
    priority TEXT NOT NULL DEFAULT 'm-' CHECK (priority IN ('h-', 'm-', 'l-', '?-')),
    status TEXT DEFAULT 'planning' CHECK (status IN ('planning', 'active', 'blocked', 'completed', 'archived')),
    complexity_score REAL CHECK (complexity_score BETWEEN 0.0 AND 1.0),
    estimated_duration_minutes INTEGER,
    required_capabilities TEXT,
    primary_platform TEXT CHECK (primary_platform IN ('claude_code', 'openai_codex', 'gemini_cli', 'cursor')),
    platform_routing TEXT,
    architectural_context TEXT DEFAULT '{}',
    implementation_context TEXT DEFAULT '{}',
    debugging_context TEXT DEFAULT '{}',
    maintenance_context TEXT DEFAULT '{}',
    cc_session_id TEXT,
    cc_task_file TEXT,
    branch_name TEXT,
    parent_task_id TEXT REFERENCES task_contexts (id),
    depends_on TEXT,
    created_at TEXT DEFAULT (datetime('now')),
    updated_at TEXT DEFAULT (datetime('now')),
    completed_at TEXT,
    legacy_values TEXT
);

CREATE TABLE memory_blocks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    task_id TEXT NOT NULL REFERENCES task_contexts (id) ON DELETE CASCADE,
    session_id TEXT NOT NULL,
    block_type TEXT NOT NULL CHECK (block_type IN ('architectural', 'implementation', 'debugging', 'maintenance',
        'context', 'decision', 'emergency_context', 'context_snapshot')),
    label TEXT NOT NULL,
    content TEXT NOT NULL,
    metadata TEXT DEFAULT '{}',
    importance_score REAL DEFAULT 0.5 CHECK (importance_score BETWEEN 0.0 AND 1.0),
    relationships TEXT DEFAULT '[]',
    embedding BLOB,
    embedding_model TEXT DEFAULT 'text-embedding-3-small',
    created_at TEXT DEFAULT (datetime('now')),
    last_accessed TEXT DEFAULT (datetime('now')),
    access_count INTEGER DEFAULT 1,
    updated_at TEXT
);

-- Several embeddings a block, of any models and dimensions; a block that never existed stays named (an old orphan).
CREATE TABLE memory_block_embeddings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    block_id TEXT REFERENCES memory_blocks (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    embedding BLOB NOT NULL,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE knowledge_entities (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    entity_type TEXT NOT NULL CHECK (entity_type IN ('person', 'technology', 'pattern', 'antipattern', 'rule',
        'preference')),
    name TEXT NOT NULL,
    description TEXT,
    confidence_score REAL DEFAULT 0.5 CHECK (confidence_score BETWEEN 0.0 AND 1.0),
    extraction_source TEXT NOT NULL,
    learned_from_task_id TEXT REFERENCES task_contexts (id),
    first_seen TEXT DEFAULT (datetime('now')),
    last_confirmed TEXT DEFAULT (datetime('now')),
    usage_count INTEGER DEFAULT 1,
    validation_status TEXT DEFAULT 'pending' CHECK (validation_status IN ('pending', 'confirmed', 'rejected')),
    embedding BLOB,
    tags TEXT DEFAULT '[]',
    updated_at TEXT,
    UNIQUE (entity_type, name)
);

CREATE TABLE knowledge_entity_embeddings (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    entity_id TEXT REFERENCES knowledge_entities (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    embedding BLOB NOT NULL,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE entity_relationships (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    source_entity_id TEXT NOT NULL REFERENCES knowledge_entities (id) ON DELETE CASCADE,
    target_entity_id TEXT NOT NULL REFERENCES knowledge_entities (id) ON DELETE CASCADE,
    relationship_type TEXT NOT NULL,
    relationship_strength REAL DEFAULT 0.5 CHECK (relationship_strength BETWEEN 0.0 AND 1.0),
    context_description TEXT,
    discovered_at TEXT DEFAULT (datetime('now')),
    confirmed_count INTEGER DEFAULT 1,
    last_confirmed TEXT DEFAULT (datetime('now')),
    UNIQUE (source_entity_id, target_entity_id, relationship_type)
);

-- Sessions, platforms, costs -----------------------------------------------------------------------------------------

CREATE TABLE coordination_sessions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    task_id TEXT NOT NULL REFERENCES task_contexts (id) ON DELETE CASCADE,
    platform TEXT NOT NULL CHECK (platform IN ('claude_code', 'openai_codex', 'gemini_cli', 'cursor', 'openrouter')),
    session_type TEXT DEFAULT 'development' CHECK (session_type IN ('development', 'review', 'debugging', 'handoff',
        'planning')),
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'completed', 'failed', 'handed_off')),
    start_time TEXT DEFAULT (datetime('now')),
    end_time TEXT,
    duration_seconds INTEGER GENERATED ALWAYS AS (
        CASE WHEN end_time IS NOT NULL THEN (julianday(end_time) - julianday(start_time)) * 86400 ELSE NULL END
    ) STORED,
    tokens_used INTEGER DEFAULT 0,
    api_calls INTEGER DEFAULT 0,
    estimated_cost_usd REAL DEFAULT 0.0,
    model_used TEXT,
    context_size_start INTEGER,
    context_size_end INTEGER,
    compaction_events INTEGER DEFAULT 0,
    handoff_from_session TEXT REFERENCES coordination_sessions (id),
    handoff_to_session TEXT REFERENCES coordination_sessions (id),
    handoff_context TEXT,
    handoff_success BOOLEAN,
    user_satisfaction INTEGER CHECK (user_satisfaction BETWEEN 1 AND 5),
    task_progress_delta REAL DEFAULT 0.0 CHECK (task_progress_delta BETWEEN -1.0 AND 1.0),
    errors_encountered INTEGER DEFAULT 0,
    metadata TEXT DEFAULT '{}',
    updated_at TEXT DEFAULT (datetime('now'))
);

CREATE TABLE session_audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL REFERENCES coordination_sessions (id) ON DELETE CASCADE,
    old_status TEXT,
    new_status TEXT,
    changed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE sessions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    context TEXT,
    metadata TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);

CREATE TABLE platform_performance (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    platform TEXT NOT NULL,
    capability_domain TEXT NOT NULL,
    task_type TEXT NOT NULL,
    success_rate REAL DEFAULT 0.0 CHECK (success_rate BETWEEN 0.0 AND 1.0),
    average_duration_seconds REAL,
    average_token_usage INTEGER,
    average_cost_usd REAL,
    user_satisfaction_avg REAL CHECK (user_satisfaction_avg BETWEEN 1.0 AND 5.0),
    total_tasks INTEGER DEFAULT 0,
    measurement_period_start TEXT,
    measurement_period_end TEXT,
    confidence_score REAL DEFAULT 0.0 CHECK (confidence_score BETWEEN 0.0 AND 1.0),
    last_updated TEXT DEFAULT (datetime('now')),
    UNIQUE (platform, capability_domain, task_type, measurement_period_start)
);

CREATE TABLE cost_analytics (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    date TEXT NOT NULL,
    platform TEXT NOT NULL,
    model TEXT NOT NULL,
    total_requests INTEGER DEFAULT 0,
    total_tokens INTEGER DEFAULT 0,
    total_cost_usd REAL DEFAULT 0.0,
    input_tokens INTEGER DEFAULT 0,
    output_tokens INTEGER DEFAULT 0,
    average_tokens_per_request REAL,
    cost_per_token REAL,
    tasks_completed INTEGER DEFAULT 0,
    cost_per_task REAL,
    created_at TEXT DEFAULT (datetime('now')),
    UNIQUE (date, platform, model)
);

CREATE TABLE synthetic_usage (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    agent_type TEXT NOT NULL,
    model TEXT,
    duration_ms INTEGER NOT NULL,
    tokens_in INTEGER,
    tokens_out INTEGER,
    cost_usd REAL,
    created_at TEXT NOT NULL
);

-- The model registry, which used to forget at every restart ----------------------------------------------------------

CREATE TABLE model_registry_log (
    line_no INTEGER PRIMARY KEY,
    raw BLOB NOT NULL
);

-- `configured_by`: who gave the URL; NULL: known from the log alone, and never called. `in_log`: the log names it.
-- The streaks say what the last checks found; `status` follows them with hysteresis. At most one provider is active.
CREATE TABLE model_providers (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base_url TEXT,
    health_path TEXT NOT NULL DEFAULT '/',
    position INTEGER NOT NULL DEFAULT 0,
    enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    configured_by TEXT CHECK (configured_by IN ('settings', 'api')),
    in_log INTEGER NOT NULL DEFAULT 0 CHECK (in_log IN (0, 1)),
    status TEXT NOT NULL DEFAULT 'unknown' CHECK (status IN ('healthy', 'unhealthy', 'unknown')),
    consecutive_failures INTEGER NOT NULL DEFAULT 0 CHECK (consecutive_failures >= 0),
    consecutive_successes INTEGER NOT NULL DEFAULT 0 CHECK (consecutive_successes >= 0),
    is_active INTEGER NOT NULL DEFAULT 0 CHECK (is_active IN (0, 1)),
    first_seen TEXT,
    last_checked TEXT
);
CREATE UNIQUE INDEX idx_provider_active ON model_providers (is_active) WHERE is_active = 1;

-- `rolled_up`: the row's day counts it already in provider_performance_metrics. Rows with a `line_no` stay.
CREATE TABLE model_health_history (
    seq INTEGER PRIMARY KEY,
    provider TEXT NOT NULL REFERENCES model_providers (name) ON UPDATE CASCADE ON DELETE CASCADE,
    healthy INTEGER NOT NULL CHECK (healthy IN (0, 1)),
    error TEXT,
    checked_at TEXT,
    duration_ms REAL CHECK (duration_ms >= 0),
    rolled_up INTEGER NOT NULL DEFAULT 0 CHECK (rolled_up IN (0, 1)),
    line_no INTEGER REFERENCES model_registry_log (line_no)
);
CREATE INDEX idx_health_provider ON model_health_history (provider, checked_at);
CREATE INDEX idx_health_checked ON model_health_history (checked_at);

-- NULL as a provider: none was left, or none was there before.
CREATE TABLE failover_events (
    seq INTEGER PRIMARY KEY,
    from_provider TEXT,
    to_provider TEXT,
    occurred_at TEXT,
    reason TEXT,
    line_no INTEGER REFERENCES model_registry_log (line_no)
);
CREATE INDEX idx_failover_occurred ON failover_events (occurred_at);

-- What clients report of their requests; each row counts once in its day's metrics and has its usage under its id.
CREATE TABLE provider_requests (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL REFERENCES model_providers (name) ON UPDATE CASCADE ON DELETE CASCADE,
    agent_type TEXT NOT NULL,
    model TEXT,
    success INTEGER NOT NULL CHECK (success IN (0, 1)),
    error TEXT,
    duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
    tokens_in INTEGER CHECK (tokens_in >= 0),
    tokens_out INTEGER CHECK (tokens_out >= 0),
    cost_usd REAL CHECK (cost_usd >= 0),
    reported_at TEXT NOT NULL
);
CREATE INDEX idx_provider_requests ON provider_requests (provider, seq);

-- Sums by day. The `_histogram` columns are JSON objects, bucket to count (devflow/services/model_registry/latency.py):
-- they add up, and percentiles are read from them.
CREATE TABLE provider_performance_metrics (
    seq INTEGER PRIMARY KEY,
    provider TEXT NOT NULL REFERENCES model_providers (name) ON UPDATE CASCADE ON DELETE CASCADE,
    day TEXT NOT NULL,
    checks INTEGER NOT NULL DEFAULT 0,
    healthy_checks INTEGER NOT NULL DEFAULT 0,
    availability REAL CHECK (availability BETWEEN 0.0 AND 1.0),
    check_ms_sum REAL NOT NULL DEFAULT 0,
    check_ms_histogram TEXT NOT NULL DEFAULT '{}',
    requests INTEGER NOT NULL DEFAULT 0,
    successful_requests INTEGER NOT NULL DEFAULT 0,
    request_ms_sum REAL NOT NULL DEFAULT 0,
    request_ms_histogram TEXT NOT NULL DEFAULT '{}',
    tokens_in INTEGER NOT NULL DEFAULT 0,
    tokens_out INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0,
    UNIQUE (provider, day)
);

-- Vector search -------------------------------------------------------------------------------------------------------

-- Which embeddings were changed, deleted, or put in before the end: who keeps codes of vectors in memory follows this,
-- in whichever process. What is added at the end is known by its seq. Rows that everybody knows are cleared away.
CREATE TABLE memory_embedding_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    embedding_seq INTEGER NOT NULL
);

CREATE INDEX idx_memory_embeddings_shape ON memory_block_embeddings (dimensions, model);

CREATE TRIGGER memory_embeddings_changed AFTER UPDATE OF seq, model, dimensions, embedding ON memory_block_embeddings
BEGIN
    INSERT INTO memory_embedding_changes (embedding_seq) VALUES (OLD.seq);
    INSERT INTO memory_embedding_changes (embedding_seq) SELECT NEW.seq WHERE NEW.seq <> OLD.seq;
END;
CREATE TRIGGER memory_embeddings_deleted AFTER DELETE ON memory_block_embeddings BEGIN
    INSERT INTO memory_embedding_changes (embedding_seq) VALUES (OLD.seq);
END;
CREATE TRIGGER memory_embeddings_put_in AFTER INSERT ON memory_block_embeddings
WHEN NEW.seq <= (SELECT seq FROM sqlite_sequence WHERE name = 'memory_block_embeddings') BEGIN
    INSERT INTO memory_embedding_changes (embedding_seq) VALUES (NEW.seq);
END;

-- Costs and budgets ---------------------------------------------------------------------------------------------------

-- Usage is summed in whole nano-dollars, so that no order of adding changes a sum; what is no number counts as nothing.
-- `cost_sums` holds each key's sums: an opening balance (what migrated `cost_analytics` rows held beyond the usage rows
-- of their key, taken once, when `cost_state` gets its row) and, kept by triggers from then on, every usage row.
-- `cost_analytics` shows them. A migrated row of it stands as it was until its key's sums change: `computed` is 0.
CREATE TABLE cost_state (
    seq INTEGER PRIMARY KEY CHECK (seq = 1),
    opened_at TEXT NOT NULL
);
CREATE TABLE cost_sums (
    seq INTEGER PRIMARY KEY,
    date TEXT NOT NULL,
    platform TEXT NOT NULL,
    model TEXT NOT NULL,
    opening_requests INTEGER NOT NULL DEFAULT 0,
    opening_tokens INTEGER NOT NULL DEFAULT 0,
    opening_input_tokens INTEGER NOT NULL DEFAULT 0,
    opening_output_tokens INTEGER NOT NULL DEFAULT 0,
    opening_cost_nanousd INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_nanousd INTEGER NOT NULL DEFAULT 0,
    unpriced INTEGER NOT NULL DEFAULT 0,
    computed INTEGER NOT NULL DEFAULT 1 CHECK (computed IN (0, 1)),
    UNIQUE (date, platform, model)
);
CREATE TABLE cost_budgets (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    period TEXT NOT NULL CHECK (period IN ('day', 'week', 'month')),
    platform TEXT,
    limit_nanousd INTEGER NOT NULL CHECK (limit_nanousd > 0),
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE TABLE cost_alerts (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    budget_id TEXT NOT NULL REFERENCES cost_budgets (id) ON DELETE CASCADE,
    period_start TEXT NOT NULL,
    threshold_percent INTEGER NOT NULL CHECK (threshold_percent IN (50, 80, 90, 100)),
    spent_nanousd INTEGER NOT NULL,
    limit_nanousd INTEGER NOT NULL,
    usage_id TEXT,
    raised_at TEXT NOT NULL,
    acknowledged_at TEXT,
    UNIQUE (budget_id, period_start, threshold_percent)
);

-- Usage whose cost nobody told: `cost_usd` is the price that was looked up. The old API shows what it was told.
CREATE TABLE looked_up_prices (
    usage_seq INTEGER PRIMARY KEY REFERENCES synthetic_usage (seq) ON DELETE CASCADE
);
CREATE INDEX idx_cost_budgets_platform ON cost_budgets (platform);
CREATE INDEX idx_cost_alerts_raised ON cost_alerts (raised_at);

-- What each usage row adds to the sums of its day, platform and model.
CREATE VIEW counted_usage AS
SELECT
    seq, id, substr(created_at, 1, 10) AS date, provider AS platform, ifnull(model, '') AS model,
    iif(typeof(tokens_in) = 'integer' AND tokens_in BETWEEN -1e12 AND 1e12, tokens_in, 0) AS input_tokens,
    iif(typeof(tokens_out) = 'integer' AND tokens_out BETWEEN -1e12 AND 1e12, tokens_out, 0) AS output_tokens,
    iif(typeof(cost_usd) IN ('real', 'integer') AND cost_usd BETWEEN -1e6 AND 1e6,
        CAST(round(cost_usd * 1e9) AS INTEGER), 0) AS cost_nanousd,
    iif(typeof(cost_usd) IN ('real', 'integer') AND cost_usd BETWEEN -1e6 AND 1e6, 0, 1) AS unpriced
FROM synthetic_usage;

-- What each row of cost_analytics holds, in the same units.
CREATE VIEW counted_analytics AS
SELECT
    seq, date, platform, model,
    iif(typeof(total_requests) = 'integer' AND total_requests BETWEEN -1e15 AND 1e15, total_requests, 0) AS requests,
    iif(typeof(total_tokens) = 'integer' AND total_tokens BETWEEN -1e15 AND 1e15, total_tokens, 0) AS tokens,
    iif(typeof(input_tokens) = 'integer' AND input_tokens BETWEEN -1e15 AND 1e15, input_tokens, 0) AS input_tokens,
    iif(typeof(output_tokens) = 'integer' AND output_tokens BETWEEN -1e15 AND 1e15, output_tokens, 0) AS output_tokens,
    iif(typeof(total_cost_usd) IN ('real', 'integer') AND total_cost_usd BETWEEN -1e9 AND 1e9,
        CAST(round(total_cost_usd * 1e9) AS INTEGER), 0) AS cost_nanousd
FROM cost_analytics;

CREATE TRIGGER synthetic_usage_counts_insert AFTER INSERT ON synthetic_usage
WHEN EXISTS (SELECT 1 FROM cost_state) BEGIN
    INSERT INTO cost_sums (date, platform, model, requests, tokens, input_tokens, output_tokens, cost_nanousd, unpriced)
    SELECT date, platform, model, 1, input_tokens + output_tokens, input_tokens, output_tokens, cost_nanousd, unpriced
    FROM counted_usage WHERE seq = NEW.seq
    ON CONFLICT (date, platform, model) DO UPDATE SET
        requests = requests + 1, tokens = tokens + excluded.tokens,
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
        cost_nanousd = cost_nanousd + excluded.cost_nanousd, unpriced = unpriced + excluded.unpriced, computed = 1;
END;
CREATE TRIGGER synthetic_usage_counts_delete BEFORE DELETE ON synthetic_usage
WHEN EXISTS (SELECT 1 FROM cost_state) BEGIN
    UPDATE cost_sums SET
        requests = requests - 1, tokens = tokens - u.input_tokens - u.output_tokens,
        input_tokens = cost_sums.input_tokens - u.input_tokens,
        output_tokens = cost_sums.output_tokens - u.output_tokens,
        cost_nanousd = cost_sums.cost_nanousd - u.cost_nanousd, unpriced = cost_sums.unpriced - u.unpriced, computed = 1
    FROM counted_usage AS u WHERE u.seq = OLD.seq
        AND cost_sums.date = u.date AND cost_sums.platform = u.platform AND cost_sums.model = u.model;
END;
CREATE TRIGGER synthetic_usage_counts_before BEFORE UPDATE ON synthetic_usage
WHEN EXISTS (SELECT 1 FROM cost_state) BEGIN
    UPDATE cost_sums SET
        requests = requests - 1, tokens = tokens - u.input_tokens - u.output_tokens,
        input_tokens = cost_sums.input_tokens - u.input_tokens,
        output_tokens = cost_sums.output_tokens - u.output_tokens,
        cost_nanousd = cost_sums.cost_nanousd - u.cost_nanousd, unpriced = cost_sums.unpriced - u.unpriced, computed = 1
    FROM counted_usage AS u WHERE u.seq = OLD.seq
        AND cost_sums.date = u.date AND cost_sums.platform = u.platform AND cost_sums.model = u.model;
END;
CREATE TRIGGER synthetic_usage_counts_after AFTER UPDATE ON synthetic_usage
WHEN EXISTS (SELECT 1 FROM cost_state) BEGIN
    INSERT INTO cost_sums (date, platform, model, requests, tokens, input_tokens, output_tokens, cost_nanousd, unpriced)
    SELECT date, platform, model, 1, input_tokens + output_tokens, input_tokens, output_tokens, cost_nanousd, unpriced
    FROM counted_usage WHERE seq = NEW.seq
    ON CONFLICT (date, platform, model) DO UPDATE SET
        requests = requests + 1, tokens = tokens + excluded.tokens,
        input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
        cost_nanousd = cost_nanousd + excluded.cost_nanousd, unpriced = unpriced + excluded.unpriced, computed = 1;
END;

-- The sums show in cost_analytics at once.
CREATE TRIGGER cost_sums_shown_insert AFTER INSERT ON cost_sums WHEN NEW.computed BEGIN
    INSERT INTO cost_analytics (date, platform, model) SELECT NEW.date, NEW.platform, NEW.model WHERE TRUE
    ON CONFLICT (date, platform, model) DO NOTHING;
    UPDATE cost_sums SET computed = 1 WHERE seq = NEW.seq;
END;
CREATE TRIGGER cost_sums_shown_update AFTER UPDATE ON cost_sums WHEN NEW.computed BEGIN
    UPDATE cost_analytics SET
        total_requests = NEW.requests, total_tokens = NEW.tokens, input_tokens = NEW.input_tokens,
        output_tokens = NEW.output_tokens, total_cost_usd = NEW.cost_nanousd / 1e9,
        average_tokens_per_request = iif(NEW.requests > 0, NEW.tokens * 1.0 / NEW.requests, NULL),
        cost_per_token = iif(NEW.tokens > 0, NEW.cost_nanousd / 1e9 / NEW.tokens, NULL),
        cost_per_task = iif(typeof(tasks_completed) = 'integer' AND tasks_completed > 0,
            NEW.cost_nanousd / 1e9 / tasks_completed, cost_per_task)
    WHERE date = NEW.date AND platform = NEW.platform AND model = NEW.model;
END;

-- Knowledge learning --------------------------------------------------------------------------------------------------

-- The blocks that were learned: what was read of each (a digest of its content), and by which rules of extraction. A block
-- without a row here is still to be learned. One whose content changes loses its row and, with it, all that it mentioned.
CREATE TABLE knowledge_learned (
    block_seq INTEGER PRIMARY KEY REFERENCES memory_blocks (seq) ON UPDATE CASCADE ON DELETE CASCADE,
    digest TEXT NOT NULL,
    rules TEXT NOT NULL,
    learned_at TEXT NOT NULL
);

-- Which block mentions which entity, how often, and the words around the first time, masked.
CREATE TABLE knowledge_mentions (
    seq INTEGER PRIMARY KEY,
    block_seq INTEGER NOT NULL REFERENCES knowledge_learned (block_seq) ON UPDATE CASCADE ON DELETE CASCADE,
    entity_seq INTEGER NOT NULL REFERENCES knowledge_entities (seq) ON UPDATE CASCADE ON DELETE CASCADE,
    times INTEGER NOT NULL CHECK (times > 0),
    snippet TEXT NOT NULL,
    UNIQUE (block_seq, entity_seq)
);
CREATE INDEX idx_mention_entity ON knowledge_mentions (entity_seq, block_seq);

-- In how many blocks two entities are mentioned together: kept by triggers, so equal to the mentions whoever deletes one.
-- `relationship_seq`: the row of entity_relationships that stands for the pair and was discovered, not migrated or told.
CREATE TABLE knowledge_pairs (
    seq INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL REFERENCES knowledge_entities (seq) ON UPDATE CASCADE ON DELETE CASCADE,
    second_seq INTEGER NOT NULL REFERENCES knowledge_entities (seq) ON UPDATE CASCADE ON DELETE CASCADE,
    blocks INTEGER NOT NULL CHECK (blocks > 0),
    relationship_seq INTEGER UNIQUE REFERENCES entity_relationships (seq) ON UPDATE CASCADE ON DELETE SET NULL,
    UNIQUE (first_seq, second_seq),
    CHECK (first_seq < second_seq)
);
CREATE INDEX idx_pair_second ON knowledge_pairs (second_seq);

-- With a row here, something was learned or forgotten since the strengths of relationships were reckoned.
CREATE TABLE knowledge_stale (seq INTEGER PRIMARY KEY CHECK (seq = 1));

-- Entities that extraction put in: they go again once no block mentions them and nobody ever said anything of them.
CREATE TABLE knowledge_discovered (
    entity_seq INTEGER PRIMARY KEY REFERENCES knowledge_entities (seq) ON UPDATE CASCADE ON DELETE CASCADE
);

-- What an entity's row said before the first feedback: what it says since follows from this and the feedback alone.
CREATE TABLE knowledge_priors (
    entity_seq INTEGER PRIMARY KEY REFERENCES knowledge_entities (seq) ON UPDATE CASCADE ON DELETE CASCADE,
    confidence REAL NOT NULL CHECK (confidence BETWEEN 0.0 AND 1.0),
    status TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'rejected')),
    uses INTEGER NOT NULL
);
CREATE TABLE knowledge_feedback (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    entity_seq INTEGER NOT NULL REFERENCES knowledge_priors (entity_seq) ON UPDATE CASCADE ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('confirm', 'reject', 'use')),
    given_at TEXT NOT NULL
);
CREATE INDEX idx_feedback_entity ON knowledge_feedback (entity_seq, kind);

CREATE TRIGGER memory_blocks_unlearned AFTER UPDATE OF content ON memory_blocks WHEN NEW.content IS NOT OLD.content BEGIN
    DELETE FROM knowledge_learned WHERE block_seq = NEW.seq;
END;
CREATE TRIGGER knowledge_learned_added AFTER INSERT ON knowledge_learned BEGIN
    INSERT INTO knowledge_stale (seq) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM knowledge_stale);
END;
CREATE TRIGGER knowledge_learned_gone AFTER DELETE ON knowledge_learned BEGIN
    INSERT INTO knowledge_stale (seq) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM knowledge_stale);
END;
CREATE TRIGGER knowledge_mentions_paired AFTER INSERT ON knowledge_mentions BEGIN
    INSERT INTO knowledge_pairs (first_seq, second_seq, blocks)
    SELECT min(NEW.entity_seq, entity_seq), max(NEW.entity_seq, entity_seq), 1
    FROM knowledge_mentions WHERE block_seq = NEW.block_seq AND entity_seq <> NEW.entity_seq
    ON CONFLICT (first_seq, second_seq) DO UPDATE SET blocks = blocks + 1;
END;
CREATE TRIGGER knowledge_mentions_parted AFTER DELETE ON knowledge_mentions BEGIN
    DELETE FROM knowledge_pairs WHERE blocks = 1 AND (first_seq, second_seq) IN (
        SELECT min(OLD.entity_seq, entity_seq), max(OLD.entity_seq, entity_seq)
        FROM knowledge_mentions WHERE block_seq = OLD.block_seq
    );
    UPDATE knowledge_pairs SET blocks = blocks - 1 WHERE (first_seq, second_seq) IN (
        SELECT min(OLD.entity_seq, entity_seq), max(OLD.entity_seq, entity_seq)
        FROM knowledge_mentions WHERE block_seq = OLD.block_seq
    );
END;
CREATE TRIGGER knowledge_pairs_counted AFTER UPDATE OF blocks ON knowledge_pairs
WHEN NEW.relationship_seq IS NOT NULL BEGIN
    UPDATE entity_relationships SET confirmed_count = NEW.blocks WHERE seq = NEW.relationship_seq;
END;
CREATE TRIGGER knowledge_pairs_gone AFTER DELETE ON knowledge_pairs WHEN OLD.relationship_seq IS NOT NULL BEGIN
    DELETE FROM entity_relationships WHERE seq = OLD.relationship_seq;
END;

-- Routing -------------------------------------------------------------------------------------------------------------

-- Which model providers a platform works with; one that is named nowhere here does not depend on the registry.
CREATE TABLE platform_providers (
    seq INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    provider TEXT NOT NULL REFERENCES model_providers (name) ON UPDATE CASCADE ON DELETE CASCADE,
    UNIQUE (platform, provider)
);
CREATE INDEX idx_platform_provider ON platform_providers (provider);

-- What outcomes taught of a platform at one kind of task: a Beta distribution of success, and means of duration and cost
-- over `weight` outcomes. All three are discounted with each outcome, so that what is long ago counts less.
CREATE TABLE routing_beliefs (
    seq INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    capability_domain TEXT NOT NULL,
    task_type TEXT NOT NULL,
    successes REAL NOT NULL CHECK (successes >= 1.0),
    failures REAL NOT NULL CHECK (failures >= 1.0),
    weight REAL NOT NULL CHECK (weight >= 0.0),
    duration_seconds REAL CHECK (duration_seconds >= 0.0),
    cost_usd REAL CHECK (cost_usd >= 0.0),
    outcomes INTEGER NOT NULL DEFAULT 0 CHECK (outcomes >= 0),
    updated_at TEXT NOT NULL,
    UNIQUE (platform, capability_domain, task_type)
);

-- Each decision with all that it was computed from: `candidates` and `weights` are JSON. Without `reported_at` it is open.
CREATE TABLE routing_decisions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    task_id TEXT REFERENCES task_contexts (id) ON UPDATE CASCADE ON DELETE SET NULL,
    capability_domain TEXT NOT NULL,
    task_type TEXT NOT NULL,
    platform TEXT NOT NULL,
    seed INTEGER NOT NULL,
    weights TEXT NOT NULL,
    candidates TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    success INTEGER CHECK (success IN (0, 1)),
    duration_seconds REAL CHECK (duration_seconds >= 0.0),
    cost_usd REAL CHECK (cost_usd >= 0.0),
    tokens INTEGER CHECK (tokens >= 0),
    satisfaction INTEGER CHECK (satisfaction BETWEEN 1 AND 5),
    reported_at TEXT,
    CHECK ((success IS NULL) = (reported_at IS NULL))
);
CREATE INDEX idx_routing_open ON routing_decisions (platform, decided_at) WHERE reported_at IS NULL;
CREATE INDEX idx_routing_task ON routing_decisions (task_id);

-- Versions -----------------------------------------------------------------------------------------------------------

CREATE TABLE schema_versions (
    seq INTEGER PRIMARY KEY,
    version TEXT NOT NULL UNIQUE,
    applied_at TEXT DEFAULT (datetime('now')),
    description TEXT
);

-- An older copy of the same thing, kept for its readers.
CREATE TABLE schema_version (
    seq INTEGER PRIMARY KEY,
    version TEXT NOT NULL UNIQUE,
    applied_at DATETIME DEFAULT CURRENT_TIMESTAMP
);

-- What the migration remembers ---------------------------------------------------------------------------------------
-- origin_<source>_<table>: what each legacy row became. `seq` is the unified row's key; bit n of `residue` says that
-- column n of the legacy table cannot be read back from the unified row and stands, typed, in its x_ column here.

CREATE TABLE origin_root_task_contexts (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_title, x_description, x_priority, x_status, x_complexity_score, x_estimated_duration_minutes,
    x_required_capabilities, x_primary_platform, x_platform_routing, x_architectural_context, x_implementation_context,
    x_debugging_context, x_maintenance_context, x_cc_session_id, x_cc_task_file, x_branch_name, x_parent_task_id,
    x_depends_on, x_created_at, x_updated_at, x_completed_at
);
CREATE TABLE origin_root_memory_blocks (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_task_id, x_session_id, x_block_type, x_label, x_content, x_metadata, x_importance_score, x_relationships,
    x_embedding, x_embedding_model, x_created_at, x_last_accessed, x_access_count
);
CREATE TABLE origin_root_memory_block_embeddings (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_block_id, x_embedding, x_model, x_dimensions, x_created_at, x_updated_at
);
CREATE TABLE origin_root_knowledge_entity_embeddings (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_entity_id, x_embedding, x_model, x_dimensions, x_created_at, x_updated_at
);
CREATE TABLE origin_root_coordination_sessions (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_task_id, x_platform, x_session_type, x_start_time, x_end_time, x_duration_seconds, x_tokens_used,
    x_api_calls, x_estimated_cost_usd, x_model_used, x_context_size_start, x_context_size_end, x_compaction_events,
    x_handoff_from_session, x_handoff_to_session, x_handoff_context, x_handoff_success, x_user_satisfaction,
    x_task_progress_delta, x_errors_encountered, x_metadata, x_updated_at
);
CREATE TABLE origin_root_platform_performance (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_platform, x_capability_domain, x_task_type, x_success_rate, x_average_duration_seconds,
    x_average_token_usage, x_average_cost_usd, x_user_satisfaction_avg, x_total_tasks, x_measurement_period_start,
    x_measurement_period_end, x_confidence_score, x_last_updated
);
CREATE TABLE origin_root_cost_analytics (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_date, x_platform, x_model, x_total_requests, x_total_tokens, x_total_cost_usd, x_input_tokens,
    x_output_tokens, x_average_tokens_per_request, x_cost_per_token, x_tasks_completed, x_cost_per_task, x_created_at
);
CREATE TABLE origin_root_knowledge_entities (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_entity_type, x_name, x_description, x_confidence_score, x_extraction_source, x_learned_from_task_id,
    x_first_seen, x_last_confirmed, x_usage_count, x_validation_status, x_embedding, x_tags
);
CREATE TABLE origin_root_entity_relationships (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_source_entity_id, x_target_entity_id, x_relationship_type, x_relationship_strength, x_context_description,
    x_discovered_at, x_confirmed_count, x_last_confirmed
);
CREATE TABLE origin_root_schema_versions (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_version, x_applied_at, x_description
);
CREATE TABLE origin_root_schema_version (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_version, x_applied_at
);
CREATE TABLE origin_root_session_audit_log (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_session_id, x_old_status, x_new_status, x_changed_at
);
CREATE TABLE origin_root_synthetic_usage (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_provider, x_agent_type, x_model, x_duration_ms, x_tokens_in, x_tokens_out, x_cost_usd, x_created_at
);
CREATE TABLE origin_root_sessions (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_name, x_context, x_metadata, x_created_at, x_updated_at
);
CREATE TABLE origin_legacy_task_contexts (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_title, x_description, x_status, x_priority, x_created_at, x_updated_at
);
CREATE TABLE origin_legacy_memory_blocks (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_content, x_type, x_timestamp, x_embedding
);
CREATE TABLE origin_legacy_memory_block_embeddings (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_memory_block_id, x_model_id, x_embedding_vector, x_dimensions, x_created_at
);
CREATE TABLE origin_legacy_synthetic_usage (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_provider, x_agent_type, x_model, x_duration_ms, x_tokens_in, x_tokens_out, x_cost_usd, x_created_at
);
CREATE TABLE origin_legacy_sessions (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    x_id, x_name, x_context, x_metadata, x_created_at, x_updated_at
);
CREATE TABLE origin_legacy_vector_memories (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    embedding_seq INTEGER NOT NULL,
    x_id, x_content, x_type, x_metadata, x_embedding_vector, x_dimensions, x_model_id, x_created_at
);
CREATE TABLE origin_vector_vector_memories (
    source_rowid INTEGER PRIMARY KEY, seq INTEGER NOT NULL, rule TEXT NOT NULL, residue INTEGER NOT NULL,
    embedding_seq INTEGER NOT NULL,
    x_id, x_content, x_type, x_metadata, x_embedding_vector, x_dimensions, x_model_id, x_created_at
);

CREATE TABLE migration_steps (
    step TEXT PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL DEFAULT 0,
    base TEXT NOT NULL DEFAULT '{}',
    done INTEGER NOT NULL DEFAULT 0,
    counts TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE migration_facts (name TEXT PRIMARY KEY NOT NULL, value);
CREATE TABLE carried_tables (
    source TEXT NOT NULL, source_table TEXT NOT NULL, unified_table TEXT NOT NULL UNIQUE,
    PRIMARY KEY (source, source_table)
);
CREATE TABLE carried_sequences (
    source TEXT NOT NULL, source_table TEXT NOT NULL, unified_table TEXT NOT NULL,
    PRIMARY KEY (source, source_table)
);
CREATE TABLE added_rows (
    unified_table TEXT NOT NULL, unified_key INTEGER NOT NULL, rule TEXT NOT NULL,
    PRIMARY KEY (unified_table, unified_key)
);
CREATE TABLE schema_decisions (
    source TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('kept', 'carried', 'repaired', 'merged', 'dropped')),
    rule TEXT NOT NULL, unified_name TEXT, reason TEXT,
    PRIMARY KEY (source, type, name)
);

-- Indexes: one of each, where legacy had the same under two names ---------------------------------------------------

CREATE INDEX idx_task_status ON task_contexts (status);
CREATE INDEX idx_task_priority ON task_contexts (priority);
CREATE INDEX idx_task_platform ON task_contexts (primary_platform);
CREATE INDEX idx_task_complexity ON task_contexts (complexity_score);
CREATE INDEX idx_task_parent ON task_contexts (parent_task_id);
CREATE INDEX idx_task_created ON task_contexts (created_at);
CREATE INDEX idx_task_cc_session ON task_contexts (cc_session_id);
CREATE INDEX idx_task_legacy ON task_contexts (legacy_values) WHERE legacy_values IS NOT NULL;
CREATE INDEX idx_task_dependent ON task_contexts (depends_on) WHERE depends_on IS NOT NULL;
CREATE INDEX idx_memory_task ON memory_blocks (task_id);
CREATE INDEX idx_memory_session_created ON memory_blocks (session_id, created_at DESC, id);
-- Searches of the old API for parts of words pass over this, not over the table.
CREATE INDEX idx_memory_legacy_content ON memory_blocks (created_at DESC, id, content)
    WHERE session_id = 'legacy-import';
CREATE INDEX idx_memory_type ON memory_blocks (block_type);
CREATE INDEX idx_memory_label ON memory_blocks (label);
CREATE INDEX idx_memory_importance ON memory_blocks (importance_score DESC);
CREATE INDEX idx_memory_created ON memory_blocks (created_at);
CREATE INDEX idx_memory_accessed ON memory_blocks (last_accessed DESC);
CREATE INDEX idx_memory_embeddings_block ON memory_block_embeddings (block_id, model);
CREATE INDEX idx_memory_embeddings_model ON memory_block_embeddings (model);
CREATE INDEX idx_memory_embeddings_created_at ON memory_block_embeddings (created_at);
CREATE INDEX idx_entity_embeddings_entity ON knowledge_entity_embeddings (entity_id, model);
CREATE INDEX idx_entity_embeddings_model ON knowledge_entity_embeddings (model);
CREATE INDEX idx_session_task ON coordination_sessions (task_id);
CREATE INDEX idx_session_platform ON coordination_sessions (platform);
CREATE INDEX idx_session_time ON coordination_sessions (start_time, end_time);
CREATE INDEX idx_session_cost ON coordination_sessions (estimated_cost_usd);
CREATE INDEX idx_session_handoff_from ON coordination_sessions (handoff_from_session);
CREATE INDEX idx_session_handoff_to ON coordination_sessions (handoff_to_session);
CREATE INDEX idx_coordination_sessions_type ON coordination_sessions (session_type);
CREATE INDEX idx_session_audit_session_id ON session_audit_log (session_id);
CREATE INDEX idx_session_audit_changed_at ON session_audit_log (changed_at);
CREATE INDEX idx_sessions_updated ON sessions (updated_at);
CREATE INDEX idx_platform_performance_platform ON platform_performance (platform);
CREATE INDEX idx_cost_date ON cost_analytics (date);
CREATE INDEX idx_cost_platform ON cost_analytics (platform);
CREATE INDEX idx_cost_total ON cost_analytics (total_cost_usd DESC);
CREATE INDEX idx_synth_usage_created ON synthetic_usage (created_at);
CREATE INDEX idx_entity_type ON knowledge_entities (entity_type);
CREATE INDEX idx_entity_confidence ON knowledge_entities (confidence_score DESC);
CREATE INDEX idx_entity_usage ON knowledge_entities (usage_count DESC);
CREATE INDEX idx_entity_learned_from ON knowledge_entities (learned_from_task_id);
CREATE INDEX idx_relationship_source ON entity_relationships (source_entity_id);
CREATE INDEX idx_relationship_target ON entity_relationships (target_entity_id);
CREATE INDEX idx_relationship_strength ON entity_relationships (relationship_strength DESC);
-- What the legacy vector API looks for: a memory by its embedding or block, and those whose rows are not its own.
CREATE INDEX idx_origin_vector_block ON origin_vector_vector_memories (seq);
CREATE INDEX idx_origin_vector_embedding ON origin_vector_vector_memories (embedding_seq);
CREATE INDEX idx_origin_vector_renamed ON origin_vector_vector_memories (x_id) WHERE residue & 1;
CREATE INDEX idx_origin_vector_merged ON origin_vector_vector_memories (seq, source_rowid) WHERE rule <> 'kept';

-- The old APIs find a unified row's origin, and what was renamed by the name that it had.
CREATE INDEX idx_origin_legacy_task_contexts ON origin_legacy_task_contexts (seq);
CREATE INDEX idx_origin_legacy_memory_blocks ON origin_legacy_memory_blocks (seq);
CREATE INDEX idx_origin_legacy_memory_block_embeddings ON origin_legacy_memory_block_embeddings (seq);
CREATE INDEX idx_origin_legacy_synthetic_usage ON origin_legacy_synthetic_usage (seq);
CREATE INDEX idx_origin_legacy_sessions ON origin_legacy_sessions (seq);
CREATE INDEX idx_origin_legacy_task_contexts_id ON origin_legacy_task_contexts (x_id) WHERE residue & 1;
CREATE INDEX idx_origin_legacy_memory_blocks_id ON origin_legacy_memory_blocks (x_id) WHERE residue & 1;
CREATE INDEX idx_origin_legacy_synthetic_usage_id ON origin_legacy_synthetic_usage (x_id) WHERE residue & 1;
CREATE INDEX idx_origin_legacy_sessions_id ON origin_legacy_sessions (x_id) WHERE residue & 1;
CREATE INDEX idx_origin_legacy_task_contexts_rule ON origin_legacy_task_contexts (rule) WHERE rule <> 'kept';
CREATE INDEX idx_origin_legacy_memory_blocks_rule ON origin_legacy_memory_blocks (rule) WHERE rule <> 'kept';
CREATE INDEX idx_origin_legacy_task_contexts_times ON origin_legacy_task_contexts (residue) WHERE residue & 32;
CREATE INDEX idx_origin_legacy_vector_memories ON origin_legacy_vector_memories (seq);
CREATE INDEX idx_origin_legacy_vector_memories_embedding ON origin_legacy_vector_memories (embedding_seq);
CREATE INDEX idx_origin_root_memory_block_embeddings ON origin_root_memory_block_embeddings (seq);
CREATE INDEX idx_origin_root_synthetic_usage ON origin_root_synthetic_usage (seq);
CREATE INDEX idx_origin_root_sessions ON origin_root_sessions (seq);

-- Full-text search -----------------------------------------------------------------------------------------------------

CREATE VIRTUAL TABLE memory_fts USING fts5(
    content, label, block_type, content='memory_blocks', content_rowid='seq', tokenize='porter ascii'
);
CREATE VIRTUAL TABLE tasks_fts USING fts5(
    title, description, content='task_contexts', content_rowid='seq', tokenize='porter ascii'
);
CREATE VIRTUAL TABLE knowledge_entities_fts USING fts5(
    name, description, tags, content='knowledge_entities', content_rowid='seq', tokenize='porter ascii'
);

CREATE TRIGGER memory_blocks_ai AFTER INSERT ON memory_blocks BEGIN
    INSERT INTO memory_fts (rowid, content, label, block_type)
    VALUES (NEW.seq, NEW.content, NEW.label, NEW.block_type);
END;
CREATE TRIGGER memory_blocks_ad AFTER DELETE ON memory_blocks BEGIN
    INSERT INTO memory_fts (memory_fts, rowid, content, label, block_type)
    VALUES ('delete', OLD.seq, OLD.content, OLD.label, OLD.block_type);
END;
CREATE TRIGGER memory_blocks_au AFTER UPDATE OF seq, content, label, block_type ON memory_blocks BEGIN
    INSERT INTO memory_fts (memory_fts, rowid, content, label, block_type)
    VALUES ('delete', OLD.seq, OLD.content, OLD.label, OLD.block_type);
    INSERT INTO memory_fts (rowid, content, label, block_type)
    VALUES (NEW.seq, NEW.content, NEW.label, NEW.block_type);
END;
CREATE TRIGGER task_contexts_ai AFTER INSERT ON task_contexts BEGIN
    INSERT INTO tasks_fts (rowid, title, description) VALUES (NEW.seq, NEW.title, NEW.description);
END;
CREATE TRIGGER task_contexts_ad AFTER DELETE ON task_contexts BEGIN
    INSERT INTO tasks_fts (tasks_fts, rowid, title, description)
    VALUES ('delete', OLD.seq, OLD.title, OLD.description);
END;
CREATE TRIGGER task_contexts_au AFTER UPDATE OF seq, title, description ON task_contexts BEGIN
    INSERT INTO tasks_fts (tasks_fts, rowid, title, description)
    VALUES ('delete', OLD.seq, OLD.title, OLD.description);
    INSERT INTO tasks_fts (rowid, title, description) VALUES (NEW.seq, NEW.title, NEW.description);
END;
CREATE TRIGGER knowledge_entities_ai AFTER INSERT ON knowledge_entities BEGIN
    INSERT INTO knowledge_entities_fts (rowid, name, description, tags)
    VALUES (NEW.seq, NEW.name, NEW.description, NEW.tags);
END;
CREATE TRIGGER knowledge_entities_ad AFTER DELETE ON knowledge_entities BEGIN
    INSERT INTO knowledge_entities_fts (knowledge_entities_fts, rowid, name, description, tags)
    VALUES ('delete', OLD.seq, OLD.name, OLD.description, OLD.tags);
END;
CREATE TRIGGER knowledge_entities_au AFTER UPDATE OF seq, name, description, tags ON knowledge_entities BEGIN
    INSERT INTO knowledge_entities_fts (knowledge_entities_fts, rowid, name, description, tags)
    VALUES ('delete', OLD.seq, OLD.name, OLD.description, OLD.tags);
    INSERT INTO knowledge_entities_fts (rowid, name, description, tags)
    VALUES (NEW.seq, NEW.name, NEW.description, NEW.tags);
END;

-- Timestamps: stamped unless the writer sets them himself -----------------------------------------------------------

CREATE TRIGGER task_contexts_update_timestamp AFTER UPDATE ON task_contexts
WHEN NEW.updated_at IS OLD.updated_at BEGIN
    UPDATE task_contexts SET updated_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER task_contexts_completion_tracking AFTER UPDATE OF status ON task_contexts
WHEN NEW.status = 'completed' AND OLD.status IS NOT 'completed' BEGIN
    UPDATE task_contexts SET completed_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER memory_blocks_update_timestamp AFTER UPDATE OF content, label, block_type, metadata ON memory_blocks
WHEN NEW.updated_at IS OLD.updated_at BEGIN
    UPDATE memory_blocks SET updated_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER update_memory_access AFTER UPDATE OF last_accessed ON memory_blocks
WHEN NEW.content IS OLD.content AND NEW.access_count IS OLD.access_count BEGIN
    UPDATE memory_blocks SET access_count = access_count + 1 WHERE seq = NEW.seq;
END;
CREATE TRIGGER memory_embeddings_update_timestamp AFTER UPDATE ON memory_block_embeddings
WHEN NEW.updated_at IS OLD.updated_at BEGIN
    UPDATE memory_block_embeddings SET updated_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER knowledge_entities_update_timestamp AFTER UPDATE ON knowledge_entities
WHEN NEW.updated_at IS OLD.updated_at BEGIN
    UPDATE knowledge_entities SET updated_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER trg_coordination_sessions_insert_timestamp AFTER INSERT ON coordination_sessions
WHEN NEW.updated_at IS NULL BEGIN
    UPDATE coordination_sessions SET updated_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER trg_coordination_sessions_update_timestamp AFTER UPDATE ON coordination_sessions
WHEN NEW.updated_at IS OLD.updated_at BEGIN
    UPDATE coordination_sessions SET updated_at = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;
CREATE TRIGGER trg_coordination_sessions_status_change AFTER UPDATE OF status ON coordination_sessions
WHEN NEW.status IS NOT OLD.status BEGIN
    INSERT INTO session_audit_log (session_id, old_status, new_status) VALUES (NEW.id, OLD.status, NEW.status);
END;
CREATE TRIGGER trg_coordination_sessions_completion AFTER UPDATE OF status ON coordination_sessions
WHEN NEW.status = 'completed' AND OLD.status IS NOT 'completed' AND NEW.end_time IS NULL BEGIN
    UPDATE coordination_sessions SET end_time = CURRENT_TIMESTAMP WHERE seq = NEW.seq;
END;

-- Views ------------------------------------------------------------------------------------------------------------------

CREATE VIEW active_tasks_with_sessions AS
SELECT
    tc.id, tc.title, tc.priority, tc.status, tc.primary_platform, tc.complexity_score,
    cs.id AS latest_session_id, cs.platform AS current_platform, cs.start_time AS session_start,
    cs.tokens_used, cs.estimated_cost_usd, COUNT(mb.id) AS memory_blocks_count
FROM task_contexts AS tc
LEFT JOIN coordination_sessions AS cs ON tc.id = cs.task_id
    AND cs.start_time = (SELECT MAX(start_time) FROM coordination_sessions WHERE task_id = tc.id)
LEFT JOIN memory_blocks AS mb ON tc.id = mb.task_id
WHERE tc.status IN ('active', 'planning')
GROUP BY tc.id, cs.id
ORDER BY tc.priority DESC, tc.updated_at DESC;

CREATE VIEW platform_efficiency_summary AS
SELECT
    platform,
    COUNT(*) AS total_sessions,
    AVG(duration_seconds) AS avg_duration,
    AVG(tokens_used) AS avg_tokens,
    AVG(estimated_cost_usd) AS avg_cost,
    AVG(CASE WHEN user_satisfaction IS NOT NULL THEN user_satisfaction END) AS avg_satisfaction,
    SUM(estimated_cost_usd) AS total_cost,
    COUNT(CASE WHEN handoff_success = 1 THEN 1 END) AS successful_handoffs,
    COUNT(CASE WHEN handoff_from_session IS NOT NULL THEN 1 END) AS total_handoffs
FROM coordination_sessions
WHERE end_time IS NOT NULL
GROUP BY platform
ORDER BY avg_satisfaction DESC, avg_cost ASC;

CREATE VIEW active_tasks AS
SELECT id, title, priority, primary_platform AS platform, created_at
FROM task_contexts
WHERE status IN ('planning', 'active')
ORDER BY priority DESC, created_at ASC;

CREATE VIEW recent_memory_blocks AS
SELECT id, block_type AS content_type, session_id AS source, created_at
FROM memory_blocks
ORDER BY created_at DESC
LIMIT 100;

CREATE VIEW platform_performance_summary AS
SELECT
    platform,
    capability_domain AS metric_type,
    AVG(success_rate) AS avg_value,
    COUNT(*) AS sample_count,
    MAX(last_updated) AS last_recorded
FROM platform_performance
GROUP BY platform, capability_domain;

CREATE VIEW knowledge_entity_types_summary AS
SELECT entity_type, COUNT(*) AS count, AVG(confidence_score) AS avg_confidence
FROM knowledge_entities
GROUP BY entity_type;
