"""What queries may do in the embedded ClickHouse: its own means, a server's configuration with grants.

The session of the engine is always user `default`. It is granted what tables and questions need, and nothing that
leaves the database: no source (`READ ON FILE`, `URL`, `REMOTE`, …), which table functions and table and database
engines ask for, no BACKUP, no dictionaries, functions, named collections, users, and of SYSTEM what holds merges.
Settings that name files or addresses, and those by which a text would be read as another language, cannot be changed.
"""

from __future__ import annotations

from pathlib import Path

GRANTS = (
    *("SELECT", "INSERT", "ALTER TABLE", "ALTER VIEW", "CREATE DATABASE", "CREATE TABLE", "CREATE VIEW"),
    *("CREATE TEMPORARY TABLE", "DROP", "TRUNCATE", "OPTIMIZE", "SHOW", "KILL QUERY", "SYSTEM MERGES"),
)
FIXED_SETTINGS = (
    *("dialect", "implicit_select", "format_schema", "format_schema_source", "format_template_resultset"),
    *("format_template_row", "format_avro_schema_registry_url", "input_format_record_errors_file_path"),
    *("url_base", "rename_files_after_processing", "merge_tree_disk", "merge_tree_storage_policy"),
)

_CONFIG = """<clickhouse>
    <users_config>users.xml</users_config>
    <!-- In the one by that name the engine looks for files too, and every table there would need their grant. -->
    <default_database>_files</default_database>
    <!-- No address at all, whoever asks for it. -->
    <remote_url_allow_hosts/>
</clickhouse>
"""
_DEFAULT_DATABASE = """ATTACH DATABASE _ UUID '5c2f6a0e-8d35-4b1a-9f27-1e0c64d7b3a9'
ENGINE = Atomic
"""
_USERS = """<clickhouse>
    <profiles><default>
        <!-- A server takes no bare expression for a SELECT; this engine would. -->
        <implicit_select>0</implicit_select>
        <constraints>{fixed}</constraints>
    </default></profiles>
    <quotas><default/></quotas>
    <users><default>
        <!-- Who asks is decided before: the engine has no other user. -->
        <no_password/>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <grants><query>GRANT {grants} ON *.*</query></grants>
    </default></users>
</clickhouse>
"""


def write_configuration(folder: Path) -> Path:
    """The engine's configuration in its data folder, written anew; the path of the file to start with.

    With it the database `default`, which the engine would not make itself under this configuration.
    """
    fixed = "".join(f"<{name}><const/></{name}>" for name in FIXED_SETTINGS)
    users = _USERS.format(fixed=fixed, grants=", ".join(GRANTS))
    (folder / "metadata").mkdir(exist_ok=True)
    for name, text in (
        ("users.xml", users),
        ("metadata/default.sql", _DEFAULT_DATABASE),
        ("config.xml", _CONFIG),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "config.xml"
