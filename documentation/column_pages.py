"""The store's tables: every column with its type, and what names a row."""

from study.store.schema import KEYS, SCHEMAS


def store_page() -> str:
    """Every table."""
    lines = [
        "# Columns of the store",
        "",
        "[The store](../store.md#columns) says what each column means. Arms and further factors add columns.",
        "",
    ]
    for name, columns in SCHEMAS.items():
        key = ", ".join(f"`{column}`" for column in KEYS.get(name, []))
        lines += [
            f"## `{name}`",
            "",
            *([f"A row is named by {key}.", ""] if key else []),
            "| column | type |",
            "|---|---|",
        ]
        lines += [f"| `{column}` | `{kind}` |" for column, kind in columns.items()]
        lines += [""]
    return "\n".join(lines)
