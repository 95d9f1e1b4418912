"""validator store -> TABLES -> SQLite: how the validator's memory lies on the disk.

Bodies are JSON, so that a new field needs no new schema; columns are what queries look for.
"""

import sqlalchemy as sa

META = sa.MetaData()
FACTS = sa.Table(
    "facts",
    META,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
STANDINGS = sa.Table(
    "standings",
    META,
    sa.Column("hotkey", sa.String, primary_key=True),
    sa.Column("release_digest", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
)
PENDING = sa.Table(
    "pending_audits",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("request_id", sa.String, nullable=False, unique=True),
    sa.Column("miner_hotkey", sa.String, nullable=False),
    sa.Column("traffic", sa.String, nullable=False),
    sa.Column("period", sa.Integer, nullable=False),
    sa.Column("counter", sa.Integer, nullable=False),
    sa.Column("response_digest", sa.String, nullable=False),
    sa.Column("claim", sa.String, nullable=False),
    sa.Column("request", sa.String, nullable=False),
    sa.Column("response", sa.String, nullable=False),
    sa.Column("signature", sa.String, nullable=False),
    sa.Column("share_ppm", sa.Integer, nullable=False),
    sa.Column("has_consent", sa.Boolean, nullable=False),
    sa.Column("draw_block", sa.Integer),
)
RECORDS = sa.Table(
    "audit_records",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("miner_hotkey", sa.String, nullable=False),
    sa.Column("traffic", sa.String, nullable=False),
    sa.Column("family", sa.String, nullable=False),
    sa.Column("audited_at_ns", sa.Integer, nullable=False),
    sa.Column("counts", sa.String),
    sa.Column("grade", sa.Float),
    sa.Index("record_by_request", "request_id"),
)
LEDGER = sa.Table(
    "ledger",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("counter", sa.Integer),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
"""Records that no statement counts yet; `counter` of those that end a due request."""
STATEMENTS = sa.Table(
    "statements",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("epoch_block", sa.Integer, nullable=False),
    sa.Column("at_us", sa.Integer, nullable=False),
    sa.Column("body", sa.String, nullable=False),
    sa.Column("rules", sa.String, nullable=False),
    sa.Column("head", sa.LargeBinary, nullable=False),
    sa.Column("standings", sa.LargeBinary, nullable=False),
    sa.Column("records", sa.LargeBinary, nullable=False),
)
"""`head` over all statements up to this one; `standings` after the records, and `records`: lines of
JSON, deflated."""
PERIODS = sa.Table(
    "periods",
    META,
    sa.Column("period", sa.Integer, primary_key=True),
    sa.Column("first_counter", sa.Integer),
    sa.Column("pool", sa.String),
)
"""`first_counter` once it has begun; `pool` once a statement fixed it."""
EPOCHS = sa.Table(
    "epochs",
    META,
    sa.Column("epoch_block", sa.Integer, primary_key=True),
    sa.Column("body", sa.String, nullable=False),
)
PROMPTS = sa.Table(
    "prompts",
    META,
    sa.Column("prompt_id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("answer", sa.String),
    sa.Column("answered_by", sa.String),
    sa.Column("request_id", sa.String),
    sa.Column("has_consent", sa.Boolean, nullable=False),
    sa.Column("structure", sa.String),
)
KEPT = sa.Table(
    "kept_answers",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("miner_hotkey", sa.String, nullable=False),
    sa.Column("release_digest", sa.String, nullable=False),
    sa.Column("traffic", sa.String, nullable=False),
    sa.Column("rules_digest", sa.String, nullable=False),
    sa.Column("led_to_alarm", sa.Boolean, nullable=False),
    sa.Column("has_consent", sa.Boolean, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("before", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
    sa.Index("kept_by_miner", "miner_hotkey", "release_digest", "traffic", "led_to_alarm"),
)
EVIDENCE_RULES = sa.Table(
    "evidence_rules",
    META,
    sa.Column("digest", sa.String, primary_key=True),
    sa.Column("body", sa.String, nullable=False),
)
OPINIONS = sa.Table(
    "second_opinions",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
)
MARKS = sa.Table(
    "exchange_marks",
    META,
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("miner_hotkey", sa.String, nullable=False),
    sa.Column("traffic", sa.String, nullable=False),
    sa.Column("prompt_digest", sa.String, nullable=False),
    sa.Column("sent_at_ns", sa.Integer, nullable=False),
    sa.Column("fault", sa.String),
    sa.Column("first_token_us", sa.Integer, nullable=False),
    sa.Column("total_us", sa.Integer, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("sketch", sa.LargeBinary, nullable=False),
)
