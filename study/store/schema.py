"""Columns of the store's tables, and the Parquet bytes they become."""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mia_core.persons import PERSON, RECORD
from mia_core.plain_json import parse_json
from study.store.names import is_column, is_defense, is_word, quoted

PASS_TABLES = ("trials", "quality", "attacks", "scores", "history")
KEYS = {
    "trials": ["trial_id"],
    "quality": ["trial_id", "measure_id"],
    "attacks": ["trial_id", "attack_id"],
    "scores": ["trial_id", "attack_id", "query"],
    "history": ["trajectory_id", "epoch"],
    "design": ["trial_id", "trajectory_id", "role", "kind", "id", "label"],
    "markers": ["pass"],
}
"""Columns that identify a row. Two racing attempts may write a row twice; it then counts once."""

TEXT, WHOLE, REAL, YES = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TIME = pa.timestamp("us", tz="UTC")

SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "trials": {
        "trial_id": TEXT,
        "trajectory_id": TEXT,
        "study": TEXT,
        "role": TEXT,
        "dataset": TEXT,
        "target": TEXT,
        "split": TEXT,
        "train_size": WHOLE,
        "members": WHOLE,
        "epochs": WHOLE,
        "steps": WHOLE,
        "generator_steps": WHOLE,
        "defense": TEXT,
        "strength": REAL,
        "replicate": WHOLE,
        "seed": WHOLE,
        "epsilon": REAL,
        "delta": REAL,
        "target_epsilon": REAL,
        "epsilon_unit": TEXT,
        "noise_key": TEXT,
        "loss_members": REAL,
        "loss_unseen": REAL,
        "seconds_train": REAL,
        "peak_bytes": WHOLE,
        "device": TEXT,
        "flags": TEXT,
        "config": TEXT,
        "versions": TEXT,
        "finished_at": TIME,
    },
    "quality": {
        "trial_id": TEXT,
        "measure": TEXT,
        "measure_id": TEXT,
        "arguments": TEXT,
        "extractor": TEXT,
        "extractor_sha256": TEXT,
        "against": TEXT,
        "value": REAL,
        "samples": WHOLE,
        "seconds": REAL,
    },
    "attacks": {
        "trial_id": TEXT,
        "attack": TEXT,
        "attack_id": TEXT,
        "arguments": TEXT,
        "package": TEXT,
        "access": TEXT,
        "knowledge": TEXT,
        "base": TEXT,
        "shadows": WHOLE,
        "steps": WHOLE,
        "released": WHOLE,
        "model_queries": REAL,
        "model_gradients": REAL,
        "queries": WHOLE,
        "judged": WHOLE,
        "judging": TEXT,
        "auc": REAL,
        "auc_low": REAL,
        "auc_high": REAL,
        "auc_all": REAL,
        "accuracy_top_n": REAL,
        "baseline_top_n": REAL,
        "accuracy_top_10pct": REAL,
        "advantage": REAL,
        "balanced_accuracy": REAL,
        "tpr_at_1pct_fpr": REAL,
        "tpr_at_01pct_fpr": REAL,
        "p_value": REAL,
        "smallest_auc": REAL,
        "epsilon_low": REAL,
        "epsilon_ceiling": REAL,
        "epsilon_confidence": REAL,
        "epsilon_method": TEXT,
        "epsilon_low_gaussian": REAL,
        "epsilon_ceiling_gaussian": REAL,
        "seconds": REAL,
        "flags": TEXT,
        "skipped": TEXT,
    },
    "scores": {
        "trial_id": TEXT,
        "attack_id": TEXT,
        "query": WHOLE,
        "unit": WHOLE,
        "member": YES,
        "judged": YES,
        "coin": YES,
        "score": pa.float32(),
    },
    "history": {
        "trajectory_id": TEXT,
        "epoch": WHOLE,
        "step": WHOLE,
        "loss_generator": REAL,
        "loss_discriminator": REAL,
        "d_real": REAL,
        "d_fake": REAL,
        "epsilon": REAL,
        "seconds": REAL,
    },
    "design": {
        "trial_id": TEXT,
        "trajectory_id": TEXT,
        "role": TEXT,
        "kind": TEXT,
        "id": TEXT,
        "label": TEXT,
        "skipped": TEXT,
        "levels": TEXT,
    },
    "markers": {"pass": TEXT, "version": TEXT, "marker": TEXT},
}
"""Columns every file of a table has; the two tables below add more."""

RENAMED = {"attacks": {"generated": "released"}}
"""Columns by the names that earlier versions gave them; whatever is read has the names of today."""

OPEN = ("trials", "history")
"""`trials` has also the arm's own settings and further factors, `history` whatever else a target's training tells."""

WORDS: dict[str, dict[str, Callable[[object], bool]]] = {
    "trials": {
        **dict.fromkeys(("trial_id", "trajectory_id", "role", "dataset", "target", "split"), is_word),
        "defense": is_defense,
        "epsilon_unit": (RECORD, PERSON).__contains__,
    },
    "quality": dict.fromkeys(
        ("trial_id", "measure", "measure_id", "extractor", "extractor_sha256", "against"), is_word
    ),
    "attacks": dict.fromkeys(("trial_id", "attack", "attack_id", "access", "epsilon_method"), is_word),
    "scores": dict.fromkeys(("trial_id", "attack_id"), is_word),
    "history": {"trajectory_id": is_word},
    "design": dict.fromkeys(("trial_id", "trajectory_id", "role", "kind", "id"), is_word),
    "markers": {"pass": is_word},
}
"""Columns that identify what a row is of, and what their texts may be. Other texts are for people."""

MAPPINGS = {
    "trials": ("config", "versions"),
    "quality": ("arguments",),
    "attacks": ("arguments",),
    "design": ("levels",),
}
"""Columns whose texts are JSON, of one mapping."""

KNOWN = {
    "trials": (
        *("dataset", "target", "split", "train_size", "steps", "replicate", "seconds_train", "config", "versions"),
        "finished_at",
    ),
    "attacks": ("trial_id", "attack", "attack_id"),
    "quality": ("trial_id", "measure", "measure_id", "extractor", "against"),
}
"""Columns without nulls, on which readers rely."""

SHARE, COUNT, SIGNED, BELOW_1 = (0, 1), (0, 2**62), (-1, 1), (0, math.nextafter(1, 0))
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "trials": {
        **dict.fromkeys(("train_size", "members", "epochs", "steps", "generator_steps", "replicate"), COUNT),
        **dict.fromkeys(("epsilon", "target_epsilon", "seconds_train", "peak_bytes"), COUNT),
        "delta": BELOW_1,
    },
    "quality": dict.fromkeys(("samples", "seconds"), COUNT),
    "attacks": {
        **dict.fromkeys(("auc", "auc_low", "auc_high", "auc_all", "balanced_accuracy", "p_value"), SHARE),
        "smallest_auc": SHARE,
        **dict.fromkeys(("accuracy_top_n", "baseline_top_n", "accuracy_top_10pct"), SHARE),
        **dict.fromkeys(("tpr_at_1pct_fpr", "tpr_at_01pct_fpr", "epsilon_confidence"), SHARE),
        **dict.fromkeys(("shadows", "steps", "released", "queries", "judged", "seconds"), COUNT),
        **dict.fromkeys(("model_queries", "model_gradients", "epsilon_low", "epsilon_ceiling"), COUNT),
        **dict.fromkeys(("epsilon_low_gaussian", "epsilon_ceiling_gaussian"), COUNT),
        "advantage": SIGNED,
    },
    "scores": dict.fromkeys(("query", "unit"), COUNT),
    "history": dict.fromkeys(("epoch", "step", "epsilon", "seconds"), COUNT),
}
"""Smallest and largest value that a column can have. All numbers are finite."""

MOMENTS = tuple(int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1e6) for year in (2000, 2200))
"""Of times: microseconds since the epoch."""

LABELLED = ("attack", "measure")
"""Kinds of rows of a design whose `label` is a name; a trial's is a sentence."""

EXPANSION = 1000
"""Rows, and bytes before compression, that a byte of Parquet can stand for at most; a thousandfold beyond ours."""

FEW = 8
"""Odd columns that are named."""

Rows = Sequence[Mapping[str, Any]] | Mapping[str, Any]


def to_table(name: str, rows: Rows) -> pa.Table:
    """Rows (a list of mappings, or one mapping of columns) under the table's schema.

    Unknown columns are allowed in `OPEN` tables only. Raises ArrowInvalid for a value that does not fit its column, and
    for a column, or a word that identifies a row, that is no name.
    """
    known = SCHEMAS[name]
    columns: Mapping[str, Any] = rows if isinstance(rows, Mapping) else _columns(known, rows)
    extra = [column for column in columns if column not in known]
    assert not extra or name in OPEN, f"{name} has no columns {extra}"
    fields = [pa.field(column, kind) for column, kind in known.items()]
    fields += [pa.field(column, _kind(columns[column])) for column in extra]
    columns = {**columns, **{column: _plain(columns[column]) for column in extra}}
    table = pa.table([pa.array(columns[field.name], field.type) for field in fields], schema=pa.schema(fields))
    _require_names(name, table)
    for field in fields:
        if pa.types.is_floating(field.type) and pc.any(pc.invert(pc.is_finite(table[field.name]))).as_py():
            raise ValueError(f"{name}.{field.name}: not finite; the store has nulls, no NaN and no infinity")
    return table


def complete(table: pa.Table, name: str) -> pa.Table:
    """With all columns of the table's schema, nulls where an older version lacks one, and then its own."""
    known = SCHEMAS[name]
    there = dict(zip(table.column_names, table.columns, strict=True))
    columns = {
        column: there[column] if column in there else pa.nulls(len(table), kind) for column, kind in known.items()
    }
    return pa.table(columns | there)


def _columns(known: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = list(known) + sorted({name for row in rows for name in row} - set(known))
    return {name: [row.get(name) for row in rows] for name in names}


def _kind(values: Sequence[Any]) -> pa.DataType:
    numbers = all(
        value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values
    )
    return REAL if numbers else TEXT


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    """Values of a further column: numbers, or texts where any is one or a truth value."""
    return values if _kind(values) == REAL else [None if value is None else as_text(value) for value in values]


def as_text(value: Any) -> str:
    """A level of a factor as a column of texts has it: a word as it is, else as JSON writes it, without `.0`."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Rows of several files of a table. A further column of numbers, or of nulls, in some and of texts in others is of
    texts.
    """
    texts = {
        field.name
        for part in parts
        for field in part.schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    }
    alike = []
    for part in parts:
        for field in part.schema:
            if field.name in texts and pa.types.is_floating(field.type):
                values = [None if value is None else as_text(value) for value in part[field.name].to_pylist()]
                part = part.set_column(part.column_names.index(field.name), field.name, pa.array(values, TEXT))
        alike.append(part)
    return pa.concat_tables(alike, promote_options="permissive")


def to_parquet(table: pa.Table) -> bytes:
    """zstd, with a checksum on every page."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def open_parquet(data: bytes, name: str | None = None, encoded: Sequence[str] = ()) -> pq.ParquetFile:
    """Checks every page as it is read; ArrowInvalid for what is too large for its bytes, or not that table.

    encoded: columns of texts to read as dictionaries.
    """
    buffer = _in_arrow_memory(data)
    file = pq.ParquetFile(buffer, page_checksum_verification=True)
    groups = [file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups)]
    if max(file.metadata.num_rows, *groups, 0) > EXPANSION * len(data):
        raise pa.ArrowInvalid(f"declares {file.metadata.num_rows} rows in {len(data)} bytes")
    if name:
        _require_schema(name, file.schema_arrow)
    if encoded:
        return pq.ParquetFile(buffer, page_checksum_verification=True, read_dictionary=list(encoded))
    return file


def _in_arrow_memory(data: bytes) -> pa.Buffer:
    """A copy that no Python object owns.

    Arrow's threads read a file, and may free its buffers after the table was returned. To free a buffer of Python they
    need the interpreter's lock, and a thread that waits for it while the interpreter ends aborts the process.
    """
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return buffer


def from_parquet(data: bytes, name: str | None = None, encoded: Sequence[str] = ()) -> pa.Table:
    """Without metadata. ArrowInvalid, or OSError, for what is damaged, too large for its bytes, or not that table.

    Every page is checked, that what identifies rows are names, that what is known of every row is there, and that
    scores can be judged.
    """
    table = open_parquet(data, name, encoded).read().unify_dictionaries()
    renamed = RENAMED.get(name or "", {})
    table = table.rename_columns([renamed.get(column, column) for column in table.column_names])
    table.validate(full=True)
    if name:
        _require_names(name, table)
        _require_known(name, table)
        _require_ranges(name, table)
        _require_once(name, table)
    if name == "scores" and len(table):  # a public copy has none
        _require_scores(table)
    return pa.table(table.columns, names=table.column_names)


def _require_schema(name: str, schema: pa.Schema) -> None:
    """Older versions lack some columns, but none that names rows."""
    known, renamed = SCHEMAS[name], RENAMED.get(name, {})
    names = [renamed.get(column, column) for column in schema.names]
    lacking = [key for key in KEYS[name] if key not in names]
    odd = [
        field.name
        for column, field in zip(names, schema, strict=True)
        if names.count(column) > 1
        or (field.type != known[column] if column in known else name not in OPEN or field.type not in (REAL, TEXT))
    ]
    if lacking or odd:
        words = ", ".join(map(quoted, [*lacking, *odd][:FEW]))
        raise pa.ArrowInvalid(f"is no table of {name}: odd or missing columns {words}")


def _require_names(name: str, table: pa.Table) -> None:
    """ArrowInvalid unless columns, and words that identify rows, are names, and what shall be JSON is."""
    for column in table.column_names:
        if not is_column(column):
            raise pa.ArrowInvalid(f"has a column {quoted(column)}, which is no name")
    checked = [(column, table[column], holds) for column, holds in WORDS[name].items() if column in table.column_names]
    if name == "design":
        labels = table.filter(pc.is_in(table["kind"], pa.array(LABELLED)))["label"]
        checked.append(("label", labels, is_word))
    for column, texts, holds in checked:
        for text in texts.unique().to_pylist():
            if text is not None and not holds(text):
                raise pa.ArrowInvalid(f"has the {column} {quoted(text)}, which is no name")
    for column in MAPPINGS.get(name, ()):
        for text in table[column].unique().to_pylist() if column in table.column_names else ():
            if text is not None:
                _require_mapping(column, text)


def _require_known(name: str, table: pa.Table) -> None:
    """ArrowInvalid for a null where no row has one, or no such column."""
    for column in KNOWN.get(name, ()):
        if column not in table.column_names or table[column].null_count:
            raise pa.ArrowInvalid(f"lacks the {column} of some rows")
    if name == "trials" and {"epsilon", "delta"} <= set(table.column_names):
        guaranteed = table.filter(pc.is_valid(table["epsilon"]))
        if guaranteed["delta"].null_count:
            raise pa.ArrowInvalid("has an epsilon without a delta")


def _require_ranges(name: str, table: pa.Table) -> None:
    """ArrowInvalid for a number that is not finite, or that its column cannot have."""
    for column, kind in zip(table.column_names, table.schema.types, strict=True):
        values = table[column]
        if pa.types.is_floating(kind) and not pc.all(pc.is_finite(values)).as_py() and values.null_count < len(values):
            raise pa.ArrowInvalid(f"has a {column} that is no finite number")
        ends = MOMENTS if pa.types.is_timestamp(kind) else RANGES.get(name, {}).get(column)
        if ends:
            numbers = values.cast(WHOLE) if pa.types.is_timestamp(kind) else values
            found = pc.min_max(numbers)
            low, high = found["min"].as_py(), found["max"].as_py()
            if low is not None and not (ends[0] <= low and high <= ends[1]):
                raise pa.ArrowInvalid(f"has a {column} out of range")


def _require_once(name: str, table: pa.Table) -> None:
    """ArrowInvalid for two rows of one key, which would count twice."""
    keys = KEYS[name]
    if name == "design" or not len(table) or (name == "scores" and _ascends(table)):
        return
    if len(table.select(keys).group_by(keys).aggregate([])) < len(table):
        raise pa.ArrowInvalid("has a row twice")


def _ascends(scores: pa.Table) -> bool:
    """Whether the queries of each attack on a trial ascend, in one run of rows each; so none is there twice."""
    query = scores["query"].to_numpy()
    changes = np.zeros(len(scores) - 1, dtype=bool)
    for column in ("trial_id", "attack_id"):
        texts = scores[column].combine_chunks()
        texts = texts.chunk(0) if isinstance(texts, pa.ChunkedArray) else texts
        encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
        code = encoded.indices.to_numpy(zero_copy_only=False)
        changes |= code[1:] != code[:-1]
    runs = scores.select(["trial_id", "attack_id"]).group_by(["trial_id", "attack_id"]).aggregate([])
    return len(runs) == 1 + int(changes.sum()) and bool((changes | (query[1:] > query[:-1])).all())


def _require_scores(table: pa.Table) -> None:
    """ArrowInvalid unless every attack has a finite score for each query, and judged members and non-members."""
    for column in ("query", "member", "score"):
        if column not in table.column_names or table[column].null_count:
            raise pa.ArrowInvalid(f"lacks a {column} of some scores")
    if not pc.all(pc.is_finite(table["score"])).as_py():
        raise pa.ArrowInvalid("has scores that are no finite numbers")
    keys = ["trial_id", "attack_id"]
    attacks = table.select(keys).group_by(keys).aggregate([])
    judged = table.filter(pc.fill_null(table["judged"], True)) if "judged" in table.column_names else table
    sides = judged.select([*keys, "member"]).group_by([*keys, "member"]).aggregate([])
    if len(sides) != 2 * len(attacks):
        raise pa.ArrowInvalid("has an attack without judged members, or without judged non-members")


def _require_mapping(column: str, text: str) -> None:
    """Factors and their levels, too, have names that are no more than names."""
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise pa.ArrowInvalid(f"has the {column} {quoted(text)}, which is no JSON of a mapping")
    for name in value if column == "levels" else ():
        if not is_column(name):
            raise pa.ArrowInvalid(f"has a factor {quoted(name)}, which is no name")
    if column == "levels" and not is_word(value.get("target", "none")):
        raise pa.ArrowInvalid(f"has the target {quoted(value['target'])}, which is no word")
