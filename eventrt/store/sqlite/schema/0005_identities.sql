-- Roles and managed policies, kept and not enforced. `key` is the case-folded name: names are one whatever their case.
CREATE TABLE roles (
    account_id TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    trust_document TEXT NOT NULL,
    created_at REAL NOT NULL,
    description TEXT,
    max_session_s INTEGER NOT NULL,
    boundary_arn TEXT,
    tags TEXT NOT NULL,
    PRIMARY KEY (account_id, key)
) WITHOUT ROWID;

CREATE INDEX roles_by_boundary ON roles (account_id, boundary_arn, key) WHERE boundary_arn IS NOT NULL;

CREATE TABLE role_inline_policies (
    account_id TEXT NOT NULL,
    role_key TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (account_id, role_key, name)
) WITHOUT ROWID;

CREATE TABLE policies (
    account_id TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    default_version INTEGER NOT NULL,
    next_version INTEGER NOT NULL,
    description TEXT,
    tags TEXT NOT NULL,
    PRIMARY KEY (account_id, key)
) WITHOUT ROWID;

CREATE TABLE policy_versions (
    account_id TEXT NOT NULL,
    policy_key TEXT NOT NULL,
    number INTEGER NOT NULL,
    document TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (account_id, policy_key, number)
) WITHOUT ROWID;

CREATE TABLE role_attachments (
    account_id TEXT NOT NULL,
    role_key TEXT NOT NULL,
    policy_arn TEXT NOT NULL,
    PRIMARY KEY (account_id, role_key, policy_arn)
) WITHOUT ROWID;

CREATE INDEX role_attachments_by_policy ON role_attachments (account_id, policy_arn, role_key);
