"""A GGUF cut into parts, as publishers of large models do."""

from __future__ import annotations

from pathlib import Path

import gguf


def split_gguf(source: Path, target: Path, parts: int, *, metadata_first: bool = False) -> list[Path]:
    """Write `source` as `target-00001-of-…` and so on; the parts in order.

    `metadata_first`: one more part in front, without tensors, as `llama-gguf-split --no-tensor-first-split` writes.
    """
    reader = gguf.GGUFReader(source)
    tensors = list(reader.tensors)
    most = -(-len(tensors) // parts)
    writer = gguf.GGUFWriter(
        target.with_suffix(".gguf"), "llama", split_max_tensors=most, small_first_shard=metadata_first
    )
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], inner)
    for tensor in tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(target.parent.glob(f"{target.name}-*.gguf"))
